"""Attention of many rollouts over the prompts that they share, as a function that transformers models call.

The keys of a prompt are read once a step for all of its rollouts: their queries are laid side by side, so
that one product serves them, and one softmax runs over the prompt's scores and the rollout's own. The
result is plain attention up to rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from policies.text.engine import fused_attention
from policies.text.engine.cache import Pair, Table, Terms

ATTENTION = "murmur_shared_prompt"


class UnsupportedError(Exception):
    """The engine cannot run this model; the message says why."""


# What layers hand their attention function beside its terms, and what changes nothing in it.
HARMLESS = frozenset(
    ("engine_view", "dropout", "position_ids", "use_cache", "cache_position", "layer_idx", "is_causal")
)


def attention_forward(  # noqa: PLR0913 - transformers' own signature
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What a model's layers call. query (n, query heads, q, dim); returns (n, q, query heads, dim).

    Raises UnsupportedError for a mask or an argument that would have to change the result and does not here.
    """
    if attention_mask is not None:
        raise UnsupportedError("its attention is given a mask of the model's own")
    if kwargs.get("is_causal") is False:
        raise UnsupportedError("its attention looks ahead")
    for name, given in kwargs.items():
        if name not in HARMLESS and given is not None and given is not False:
            raise UnsupportedError(f"its attention takes an argument that is unknown here ({name})")
    view: PromptView | RolloutView = kwargs["engine_view"]
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    terms = Terms(scaling, sliding_window, softcap, s_aux, getattr(module, "expand_kv", None))
    out = view.attend(cast(int, module.layer_idx), query, (key, value), terms)
    return out.transpose(1, 2).contiguous(), None


# No mask function of this name is registered: transformers then builds no mask.
AttentionInterface.register(ATTENTION, attention_forward)


class PromptView:
    """Whole prompts of one length, none with a past: causal attention, kept in the prompts' table."""

    def __init__(self, prompts: Table, first: int, *, fused: bool = False) -> None:
        """`fused`: by the kernels of `fused_attention`, as far as they can express the layer's terms."""
        self._prompts = prompts
        self._first = first
        self._fused = fused

    def store(self, layer: int, new: Pair) -> Pair:
        rows, _, length, _ = new[0].shape
        for table, states in zip(self._prompts.layer(layer, new), new, strict=True):
            table[self._first : self._first + rows, :, :length] = states
        return new

    def attend(self, layer: int, query: torch.Tensor, states: Pair, terms: Terms) -> torch.Tensor:
        self._prompts.terms[layer] = terms
        if self._fused and fused_attention.is_expressible(terms):
            return fused_attention.attend_causally(query, states, terms)
        if terms.window is None and terms.softcap is None and terms.sinks is None:
            return scaled_dot_product_attention(
                query, *states, is_causal=True, scale=terms.scaling, enable_gqa=True
            )
        places = torch.arange(query.shape[2], device=query.device)
        bias = _bias(_visible(places[None, None, :], places[None, :, None], terms.window), query.dtype)
        packed = _packed(query, states[0].shape[1]) * terms.scaling
        weights = _softmax([packed @ states[0].mT], bias, terms)
        return _unpacked(weights @ states[1], query)


@dataclass(frozen=True, slots=True)
class SlotGrid:
    """Which prompt each of n rows continues, laid out as a grid of prompts x slots."""

    cells: torch.Tensor  # (n,) place in the grid: prompt * slots + slot
    prompt_lengths: torch.Tensor  # (n,) tokens
    prompts: int
    slots: int
    whole: bool = False  # every cell is some row's, in the order of the rows

    @classmethod
    def of(cls, prompt_of: Sequence[int], lengths: Sequence[int], device: torch.device) -> SlotGrid:
        """`prompt_of` names each row's place in the prompts' table, `lengths` are the lengths of those there."""
        slots = max(Counter(prompt_of).values())
        taken: Counter[int] = Counter()
        cells = []
        for prompt in prompt_of:
            cells.append(prompt * slots + taken[prompt])
            taken[prompt] += 1
        own_lengths = [lengths[prompt] for prompt in prompt_of]
        uploaded = torch.tensor([cells, own_lengths]).to(device, non_blocking=True)
        return cls(
            uploaded[0],
            uploaded[1],
            prompts=max(prompt_of) + 1,
            slots=slots,
            whole=cells == list(range((max(prompt_of) + 1) * slots)),
        )


@dataclass(slots=True)
class RolloutView:
    """Rollouts that go on by q tokens each: they see their prompt and their own tokens up to each place."""

    prompts: Table
    rollouts: Table
    grid: SlotGrid
    first: int  # row of `rollouts` that the first of the n rows is
    columns: torch.Tensor  # (n, q) places in the completion of the tokens that are fed
    width: int  # completion places that are read
    prompt_width: int  # prompt places that are read
    fused: bool = False  # by the kernels of `fused_attention`, as far as they can express a layer's terms
    fused_biases: dict[tuple[int | None, int], Pair] = field(default_factory=dict)  # see there
    _biases: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def store(self, layer: int, new: Pair) -> Pair:
        n = self.columns.shape[0]
        rows = torch.arange(self.first, self.first + n, device=self.columns.device)[:, None]
        stored = self.rollouts.layer(layer, new)
        for table, states in zip(stored, new, strict=True):
            table[rows, :, self.columns] = states.transpose(1, 2)
        keys, values = (table[self.first : self.first + n, :, : self.width] for table in stored)
        return keys, values

    def attend(self, layer: int, query: torch.Tensor, states: Pair, terms: Terms) -> torch.Tensor:
        if self.fused and fused_attention.is_expressible(terms):
            return fused_attention.attend(self, layer, query, states, terms)
        packed = _packed(query, states[0].shape[1]) * terms.scaling
        kept = self.shared(layer)
        shared = kept if terms.expand is None else terms.expand(*kept)
        scores = [self.by_prompt(packed, shared[0].mT), packed @ states[0].mT]
        weights = _softmax(scores, self.bias(terms.window, query.dtype), terms)
        out = self.by_prompt(weights[..., : self.prompt_width], shared[1])
        out = out + weights[..., self.prompt_width :] @ states[1]
        return _unpacked(out, query)

    def shared(self, layer: int) -> Pair:
        """What the prompts' table holds for the rows: (prompts, heads, prompt width, dim) each."""
        keys, values = (x[: self.grid.prompts, :, : self.prompt_width] for x in self.prompts.layer(layer))
        return keys, values

    def by_prompt(self, rows: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """rows (n, h, r, a) times their prompts' (prompts, h, a, b): (n, h, r, b), each prompt read once."""
        n, heads, queries, inner = rows.shape
        prompts, slots = self.grid.prompts, self.grid.slots
        if self._is_whole:
            product = self._grid_product(rows, shared)
            return product[0] if prompts == 1 else product.reshape(n, heads, queries, -1)
        grid = rows.new_zeros(prompts * slots, heads, queries, inner)
        grid[self.grid.cells] = rows
        product = self._grid_product(grid, shared)
        return product.reshape(prompts * slots, heads, queries, -1)[self.grid.cells]

    def _grid_product(self, rows: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """As `by_prompt`, for rows in the order of the grid's cells: (prompts, slots, h, r, b)."""
        prompts, slots = self.grid.prompts, self.grid.slots
        _, heads, queries, inner = rows.shape
        grid = rows.reshape(prompts, slots, heads, queries, inner).transpose(1, 2)
        product = torch.bmm(grid.reshape(prompts * heads, slots * queries, inner), shared.flatten(0, 1))
        return product.view(prompts, heads, slots, queries, -1).transpose(1, 2)

    def in_grid(self, rows: torch.Tensor) -> torch.Tensor:
        """rows (n, h, r, a) by their prompts: (prompts, h, slots * r, a), zeros in cells that are nobody's."""
        _, heads, queries, inner = rows.shape
        prompts, slots = self.grid.prompts, self.grid.slots
        if not self._is_whole:
            grid = rows.new_zeros(prompts * slots, heads, queries, inner)
            grid[self.grid.cells] = rows
            rows = grid
        cells = rows.reshape(prompts, slots, heads, queries, inner).transpose(1, 2)
        return cells.reshape(prompts, heads, slots * queries, inner)

    def in_rows(self, grid: torch.Tensor) -> torch.Tensor:
        """The way back: (prompts, h, slots * r, a) to (n, h, r, a)."""
        prompts, heads, _, inner = grid.shape
        cells = grid.reshape(prompts, heads, self.grid.slots, -1, inner).transpose(1, 2)
        rows = cells.reshape(prompts * self.grid.slots, heads, -1, inner)
        return rows if self._is_whole else rows[self.grid.cells]

    @property
    def _is_whole(self) -> bool:
        """Whether the rows are the cells, in their order."""
        return self.grid.whole or (self.grid.prompts == 1 and self.grid.slots == len(self.columns))

    def bias(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """The mask of one kind of layer, made once a pass: (n, 1, q, prompt width + width)."""
        if window not in self._biases:
            self._biases[window] = _bias(self.visible(window), dtype)
        return self._biases[window]

    def visible(self, window: int | None) -> torch.Tensor:
        """Which places each query sees: (n, q, prompt width + width)."""
        device = self.columns.device
        lengths = self.grid.prompt_lengths[:, None]
        before = torch.arange(self.prompt_width, device=device).expand(len(lengths), -1)
        # Padding behind a prompt is moved beyond every query's place.
        before = before.masked_fill(before >= lengths, torch.iinfo(torch.int64).max)
        places = torch.cat([before, lengths + torch.arange(self.width, device=device)], dim=1)
        queries = lengths + self.columns
        return _visible(places[:, None, :], queries[:, :, None], window)


def _packed(query: torch.Tensor, heads: int) -> torch.Tensor:
    """Query heads that share keys become further queries: (n, query heads, q, d) to (n, heads, shared * q, d)."""
    n, _, _, dim = query.shape
    return query.reshape(n, heads, -1, dim)


def _unpacked(out: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    n, heads, places, _ = query.shape
    return out.reshape(n, heads, places, -1)


def _visible(keys: torch.Tensor, queries: torch.Tensor, window: int | None) -> torch.Tensor:
    """Whether the place `queries` (n, q, 1) sees the place `keys` (n, 1, k): (n, q, k)."""
    visible = keys <= queries
    if window is not None:
        visible &= keys > queries - window
    return visible


def _bias(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where `visible` (n, q, k), else -inf: (n, 1, q, k)."""
    bias = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return bias.masked_fill_(~visible, float("-inf"))[:, None]


def _softmax(parts: list[torch.Tensor], bias: torch.Tensor, terms: Terms) -> torch.Tensor:
    """Over all parts at once. Scores (n, heads, shared * q, k); `bias` (n, 1, q, k) is the same for what is shared."""
    scores = torch.cat(parts, dim=-1)
    if terms.softcap is not None:
        scores = torch.tanh(scores / terms.softcap) * terms.softcap
    n, heads, queries, keys = scores.shape
    places = bias.shape[2]
    masked = scores.view(n, heads, queries // places, places, keys) + bias[:, :, None]
    if terms.sinks is not None:
        sinks = terms.sinks.to(masked.dtype).view(1, heads, -1, 1, 1).expand(n, -1, -1, places, 1)
        masked = torch.cat([masked, sinks], dim=-1)
    weights = torch.softmax(masked, dim=-1, dtype=torch.float32)[..., :keys].to(scores.dtype)
    return weights.reshape(n, heads, queries, keys)
