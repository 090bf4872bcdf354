"""The matrix products of a case alone, as the library does them: the least that a decode loop of it could take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from policies.text.engine import Request


class LibraryProducts:
    """Every linear layer of the model and its head on as many rows as each step has; nothing between them.

    Prompts pass once each, the head for their last token alone. Attention is no product of weights, and left out.
    """

    name = "products"

    def __init__(self, model: PreTrainedModel) -> None:
        self.arithmetic = str(model.dtype).removeprefix("torch.")
        self._head = model.get_output_embeddings()
        layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
        self._layers = [layer for layer in layers if layer is not self._head]
        self._dtype, self._device = model.dtype, model.device

    @torch.no_grad()
    def complete(self, requests: Sequence[Request]) -> list[int]:
        """The lengths that are asked for. The first token of each comes from its prompt's pass."""
        lengths = [request.max_new_tokens for request in requests]
        prompts = {request.prompt_ids for request in requests}
        most = max(len(requests), *map(len, prompts))
        widths = {layer.in_features for layer in (*self._layers, self._head)}
        rows = {width: torch.ones(most, width, dtype=self._dtype, device=self._device) for width in widths}
        for prompt in prompts:
            self._pass(rows, len(prompt), last=1)
        for step in range(1, max(lengths)):
            count = sum(length > step for length in lengths)
            self._pass(rows, count, last=count)
        return lengths

    def _pass(self, rows: dict[int, torch.Tensor], count: int, last: int) -> None:
        for layer in self._layers:
            layer(rows[layer.in_features][:count])
        self._head(rows[self._head.in_features][:last])
