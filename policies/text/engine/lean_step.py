"""One more token for every row, through the layers of a model of Llama's form, product by product.

A layer of such a model is norm, attention with rotated queries and keys, norm, gated MLP. What it does to its scores
(scaling, window, cap) is not read here: its own code told the prompts' table when it computed them. Norms and rotary
frequencies are the model's own modules. Exact against the general forward pass: the engine compares them first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from transformers import PreTrainedModel

from policies.text.engine.attention import RolloutView, UnsupportedError
from policies.text.engine.lean_attention import StepAttention
from policies.text.engine.packed import product_plus, product_times

# Layers by the name of their class: whether what attention and MLP give is normed too before it is added.
FORMS = {
    "LlamaDecoderLayer": False,
    "MistralDecoderLayer": False,
    "Qwen2DecoderLayer": False,
    "Qwen3DecoderLayer": False,
    "Gemma2DecoderLayer": True,
    "Gemma3DecoderLayer": True,
}


@dataclass(frozen=True, slots=True)
class LeanLayer:
    """The modules of one layer."""

    attention: Any
    mlp: Any
    norms: tuple[Any, Any | None, Any, Any | None]  # before and after attention, before and after the MLP
    kind: str | None  # of rotary frequencies, where a model has several

    @classmethod
    def of(cls, layer: Any) -> Self:
        """Raises UnsupportedError for a layer of another form."""
        form = FORMS.get(type(layer).__name__)
        if form is None:
            raise UnsupportedError(f"{type(layer).__name__} is not of Llama's form")
        names = ("post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
        after = (
            [getattr(layer, name) for name in names] if form else [None, layer.post_attention_layernorm, None]
        )
        attention = layer.self_attn
        return cls(
            attention, layer.mlp, (layer.input_layernorm, *after), getattr(attention, "layer_type", None)
        )


class LeanModel:
    """A model's step; `model` is the engine's working copy, whose weights may change between steps."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Raises UnsupportedError for a model of another form."""
        inner: Any = model.model
        self._embed = inner.embed_tokens
        self._layers: Sequence[LeanLayer] = [LeanLayer.of(layer) for layer in inner.layers]
        self._rotary = inner.rotary_emb
        self._norm = inner.norm
        self._head: Any = model.get_output_embeddings()
        self._cap: float | None = getattr(model.config, "final_logit_softcapping", None)
        by_kind = hasattr(self._rotary, "layer_types")
        self._kinds = {layer.kind if by_kind else None for layer in self._layers}
        self._by_kind = by_kind

    def step(self, tokens: torch.Tensor, positions: torch.Tensor, view: RolloutView) -> torch.Tensor:
        """Feeds `tokens` (n,) at `positions` (n, 1); logits after them (n, V)."""
        hidden, attention = self._embed(tokens), StepAttention(view)
        angles = {kind: self._angles(hidden, positions, kind) for kind in self._kinds}
        for index, layer in enumerate(self._layers):
            rotation = angles[layer.kind if self._by_kind else None]
            hidden = _attended(layer, index, hidden, rotation, attention)
            hidden = _fed_forward(layer, hidden)
        logits: torch.Tensor = self._head(self._norm(hidden))
        if self._cap is not None:
            logits = torch.tanh(logits / self._cap) * self._cap
        return logits

    def _angles(
        self, hidden: torch.Tensor, positions: torch.Tensor, kind: str | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines (n, 1, dim), the sines of the first half negated: see `_rotated`."""
        named = () if kind is None else (kind,)
        cos, sin = self._rotary(hidden[:, None], positions, *named)
        half = sin.shape[-1] // 2
        return cos, torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)


def _attended(
    layer: LeanLayer,
    index: int,
    hidden: torch.Tensor,
    rotation: tuple[torch.Tensor, torch.Tensor],
    attention: StepAttention,
) -> torch.Tensor:
    own, (before, after, _, _) = layer.attention, layer.norms
    rows, dim = before(hidden), own.head_dim
    query, key, value = (
        projection(rows).view(len(rows), -1, dim) for projection in (own.q_proj, own.k_proj, own.v_proj)
    )
    if (norm := getattr(own, "q_norm", None)) is not None:
        query, key = norm(query), own.k_norm(key)
    query, key = _rotated(query, *rotation), _rotated(key, *rotation)
    out = attention.attend(index, query, key, value)
    if after is None:
        return product_plus(own.o_proj, out, hidden)
    normed: torch.Tensor = after(own.o_proj(out))
    return hidden + normed


def _fed_forward(layer: LeanLayer, hidden: torch.Tensor) -> torch.Tensor:
    mlp, (_, _, before, after) = layer.mlp, layer.norms
    rows = before(hidden)
    wide = product_times(mlp.up_proj, rows, mlp.act_fn(mlp.gate_proj(rows)))
    if after is None:
        return product_plus(mlp.down_proj, wide, hidden)
    normed: torch.Tensor = after(mlp.down_proj(wide))
    return hidden + normed


def _rotated(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """states (n, heads, dim), each half turned into the other."""
    return (states * cos).addcmul_(states.roll(states.shape[-1] // 2, -1), sin)
