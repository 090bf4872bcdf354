"""Attention of one token a row over the prompts that rows share and over what they wrote, in few calls."""

from __future__ import annotations

import torch

from policies.text.engine.attention import RolloutView
from policies.text.engine.cache import Pair, Terms


class StepAttention:
    """The layers' attention in one step; `view` says where the rows read and write."""

    def __init__(self, view: RolloutView) -> None:
        self._view = view
        self._rows = len(view.columns)
        self._places: dict[int, torch.Tensor] = {}  # by number of heads: where new keys and values go
        self._masks: dict[int | None, torch.Tensor | None] = {}

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """query (n, query heads, dim), key and value (n, heads, dim); gives (n, query heads * dim).

        By the terms by which the layer attended when it computed the prompts.
        """
        view, (n, heads, dim) = self._view, key.shape
        terms = view.prompts.terms[layer]
        keys, values = self._stored(layer, key, value)
        shared_keys, shared_values = view.shared(layer)
        packed = query.view(n, heads, -1, dim) * terms.scaling
        if keys.dtype != torch.float32:  # bfloat16 products copy keys with gaps between rows more slowly
            keys = keys.contiguous()
        own = torch.bmm(packed.flatten(0, 1), keys.mT)
        scores = [view.by_prompt(packed, shared_keys.mT), own.view(n, heads, -1, view.width)]
        weights = self._weights(torch.cat(scores, dim=-1), terms)
        out = view.by_prompt(weights[..., : view.prompt_width], shared_values)
        out = out.reshape(n * heads, -1, dim)
        out = torch.baddbmm(out, weights[..., view.prompt_width :].flatten(0, 1), values)
        return out.view(n, -1)

    def _stored(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> Pair:
        """Writes the new keys and values in place; gives those of all places that are read, (n * heads, width, dim)."""
        tables = self._view.rollouts.layer(layer, (key[:, :, None], value[:, :, None]))
        for table, states in zip(tables, (key, value), strict=True):
            table.view(-1, table.shape[-1]).index_copy_(0, self._places_of(table), states.flatten(0, 1))
        keys, values = (table[: self._rows, :, : self._view.width].flatten(0, 1) for table in tables)
        return keys, values

    def _places_of(self, table: torch.Tensor) -> torch.Tensor:
        """Where the new token of every row and head lies in a table (rows, heads, places, dim) of one row a place."""
        _, heads, width, _ = table.shape
        if heads not in self._places:
            columns = self._view.columns
            lines = torch.arange(self._rows * heads, device=columns.device).view(-1, heads)
            self._places[heads] = (lines * width + columns).flatten()
        return self._places[heads]

    def _weights(self, scores: torch.Tensor, terms: Terms) -> torch.Tensor:
        """Softmax of scores (n, heads, shared, places), in float32 as the general pass takes it."""
        if terms.softcap is not None:
            scores = torch.tanh(scores / terms.softcap) * terms.softcap
        mask = self._mask(terms.window, scores.dtype)
        if mask is not None:
            scores.flatten(1, 2).add_(mask)
        return torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)

    def _mask(self, window: int | None, dtype: torch.dtype) -> torch.Tensor | None:
        """(n, 1, places), made once a step for each kind of layer; None where every row sees all of them."""
        if window not in self._masks:
            mask = self._view.bias(window, dtype)[:, 0]
            self._masks[window] = mask if bool(mask.any()) else None
        return self._masks[window]
