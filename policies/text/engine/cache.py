"""Keys and values of rollouts in flight: one table for prompts, which rollouts share, one for what they wrote.

A table keeps the rows in use at its front. The engine moves rows; a forward pass writes and reads them through
its `View` (see attention.py), which stands behind transformers' cache interface.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

Pair = tuple[torch.Tensor, torch.Tensor]  # keys and values, each (rows, heads, places, dim)


@dataclass(frozen=True, slots=True)
class Terms:
    """A layer's own terms of attention."""

    scaling: float
    window: int | None = None  # places that a query sees, its own among them
    softcap: float | None = None
    # Scores, one a query head, that take weight from all places and give nothing for it.
    sinks: torch.Tensor | None = None
    # Of layers that keep latents, as DeepSeek's do: keys and values from what the tables hold.
    expand: Callable[[torch.Tensor, torch.Tensor], Pair] | None = None


class Table:
    """Keys and values of every layer. Layers may differ in heads and dim, so each makes its own tensors."""

    def __init__(self, rows: int, width: int) -> None:
        self.rows = rows
        self.width = width
        self._layers: dict[int, Pair] = {}
        self.terms: dict[int, Terms] = {}  # by which each layer attended to it last

    def layer(self, index: int, like: Pair | None = None) -> Pair:
        """The layer's tensors, made at first use in the likeness of new keys and values.

        Zeroed: what is masked is multiplied by 0, and 0 times an old NaN would not be 0. On Linux zeroed
        memory is not in use until it is written.
        """
        if index not in self._layers and like is not None:
            keys, values = (x.new_zeros(self.rows, x.shape[1], self.width, x.shape[3]) for x in like)
            self._layers[index] = (keys, values)
        return self._layers[index]

    @property
    def bytes(self) -> int:
        """Size of the tensors that were made so far."""
        return sum(tensor.nbytes for pair in self._layers.values() for tensor in pair)

    def clear(self) -> None:
        """Zeroes it in place, as at first use."""
        for pair in self._layers.values():
            for tensor in pair:
                tensor.zero_()

    def move(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` places of one row over another row's."""
        for pair in self._layers.values():
            for tensor in pair:
                tensor[target, :, :length] = tensor[source, :, :length]


class View(Protocol):
    """How one forward pass uses the tables."""

    def store(self, layer: int, new: Pair) -> Pair:
        """Takes a layer's new keys and values; returns those that its attention function is handed."""
        ...


class ViewCache(Cache):
    """What a transformers model takes for its cache: every layer's update goes to one view."""

    def __init__(self, view: View, layers: int) -> None:
        super().__init__(layers=[_ViewLayer(view, index) for index in range(layers)])
        self.view = view


class _ViewLayer(CacheLayerMixin):
    """Lengths are not asked of it: positions are given with every call, and attention makes its own mask."""

    is_sliding = False

    def __init__(self, view: View, index: int) -> None:
        super().__init__()
        self._view = view
        self._index = index

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Pair:
        return self._view.store(self._index, (key_states, value_states))

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1
