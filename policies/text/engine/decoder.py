"""The engine's three forward passes: a prompt, a partial's earlier tokens, and one more token for every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from transformers import PreTrainedModel

from policies.text.engine.attention import PromptView, RolloutView, SlotGrid
from policies.text.engine.cache import Table, View, ViewCache
from policies.text.engine.lean_step import LeanModel


class Step(Protocol):
    """One more token for rows 0 to n of the rollouts' table."""

    def __call__(
        self, tokens: torch.Tensor, columns: torch.Tensor, grid: SlotGrid, width: int
    ) -> torch.Tensor:
        """Feeds `tokens` (n,) at completion places `columns` (n,), all under `width`; logits after them (n, V)."""
        ...


class Decoder:
    """A model with the tables of one call. Computes; what is sampled is the engine's business."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Table,
        rollouts: Table,
        lean: LeanModel | None = None,
        *,
        fused: bool = False,
    ) -> None:
        """`lean`: what computes the steps in place of the model's own forward pass. `fused`: see `fused_attention`."""
        self._model = model
        self._lean = lean
        self._fused = fused
        self._layers: int = model.config.get_text_config().num_hidden_layers
        self.prompts = prompts
        self.rollouts = rollouts
        self.device: torch.device = model.device

    @property
    def tables(self) -> tuple[Table, Table]:
        return self.prompts, self.rollouts

    def load_prompts(self, prompts: Sequence[tuple[int, ...]], first: int) -> torch.Tensor:
        """Computes prompts of one length into the prompts' table from row `first`; logits after them (k, V)."""
        ids = torch.tensor(prompts, device=self.device)
        positions = torch.arange(ids.shape[1], device=self.device).expand(len(prompts), -1)
        return self._forward(ids, positions, PromptView(self.prompts, first, fused=self._fused))

    def load_begun(self, begun: Sequence[tuple[int, ...]], first: int, grid: SlotGrid) -> None:
        """Computes what partials have written so far into the rollouts' table from row `first`.

        All but their last token, which the next step feeds. Shorter ones are padded behind their end, where
        no place sees it before a real token takes it.
        """
        longest = max(map(len, begun)) - 1
        if longest == 0:
            return
        padded = [ids[:-1] + ids[-1:] * (longest - len(ids) + 1) for ids in begun]
        columns = torch.arange(longest, device=self.device).expand(len(begun), -1)
        view = self._rollout_view(grid, first, columns, longest)
        self._forward(torch.tensor(padded, device=self.device), self._positions(columns, grid), view)

    def step(self, tokens: torch.Tensor, columns: torch.Tensor, grid: SlotGrid, width: int) -> torch.Tensor:
        """See `Step`. Every shape follows from those given, so that the pass can be captured."""
        view = self._rollout_view(grid, 0, columns[:, None], width)
        positions = self._positions(columns[:, None], grid)
        if self._lean is not None:
            return self._lean.step(tokens, positions, view)
        return self._forward(tokens[:, None], positions, view)

    def _rollout_view(self, grid: SlotGrid, first: int, columns: torch.Tensor, width: int) -> RolloutView:
        return RolloutView(
            self.prompts,
            self.rollouts,
            grid,
            first,
            columns,
            width,
            prompt_width=self.prompts.width,
            fused=self._fused,
        )

    @staticmethod
    def _positions(columns: torch.Tensor, grid: SlotGrid) -> torch.Tensor:
        return grid.prompt_lengths[:, None] + columns

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, view: View) -> torch.Tensor:
        logits: torch.Tensor = self._model(
            input_ids=ids,
            position_ids=positions,
            past_key_values=ViewCache(view, self._layers),
            use_cache=True,
            logits_to_keep=1,
            engine_view=view,
        ).logits[:, -1]
        return logits
