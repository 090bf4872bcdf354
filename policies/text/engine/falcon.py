"""Falcon's attention through the engine's views: its layers compute it themselves and take no function for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from policies.text.engine.attention import UnsupportedError, attention_forward

if TYPE_CHECKING:
    from transformers.models.falcon.modeling_falcon import FalconAttention

LIBRARY = "transformers.models.falcon.modeling_falcon"  # in memory once there is a model of its classes


@contextmanager
def falcon_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside, Falcon's layers call the engine's attention. Models without such layers are left as they are."""
    library = sys.modules.get(LIBRARY)
    layers = [m for m in model.modules() if library is not None and isinstance(m, library.FalconAttention)]
    for layer in layers:
        layer.forward = MethodType(_forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(
    layer: FalconAttention,
    hidden_states: torch.Tensor,
    alibi: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    layer_past: Any,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """hidden_states (n, q, H), gives (n, q, H). Which keys a query sees follows from the view, not from the mask."""
    from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb

    if alibi is not None:
        raise UnsupportedError("its attention falls with distance (alibi)")
    states = layer._split_heads(layer.query_key_value(hidden_states))
    query, key, value = (state.transpose(1, 2) for state in states)
    query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
    key, value = layer_past.update(key, value, layer.layer_idx)
    out, _ = attention_forward(layer, query, key, value, None, engine_view=layer_past.view)
    return layer.dense(out.flatten(2)), None
