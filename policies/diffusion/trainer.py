"""Optimiser steps of a diffusion policy: one on the trees of a batch, some on finished images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policies.diffusion.denoiser import Denoiser
from policies.diffusion.loss import LossRule, Tally, TreeLoss
from policies.diffusion.nft_loss import ForwardLoss, WeightedSample
from policies.diffusion.settings import DiffusionSettings
from policies.optimiser import all_or_nothing, scaled_rate
from policies.policy import DivergedError, UpdateSpec
from policies.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class StepReport:
    """What the optimiser steps of one update did."""

    loss: float
    grad_norm: float  # the largest
    learning_rate: float
    trees: Tally
    images: int  # learnt from as finished images


class DiffusionTrainer:
    """Owns the optimiser and the old policy, a running mean of the weights."""

    def __init__(self, denoiser: Denoiser, settings: DiffusionSettings, seed: int) -> None:
        self._denoiser, self._settings, self._seed = denoiser, settings, seed
        self._trained = [p for p in denoiser.module.parameters() if p.requires_grad]
        self._old = [parameter.detach().clone() for parameter in self._trained]
        trainer = settings.trainer
        self._optimizer = torch.optim.AdamW(
            self._trained, trainer.learning_rate, weight_decay=trainer.weight_decay
        )

    def step(
        self, trees: Sequence[TreeLoss], samples: Sequence[WeightedSample], spec: UpdateSpec, updates: int
    ) -> StepReport:
        """`spec.epochs` times: one optimiser step on all trees together, then those on images.

        The random draws of the latter follow from the seed and `updates`. Raises DivergedError, weights and
        optimiser as they were.
        """
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "forward", updates))
        losses, norms, tally = [], [], Tally()
        a_single_step = spec.epochs == 1 and not samples  # its check comes before anything is changed
        undoable = nullcontext() if a_single_step else all_or_nothing(self._trained, self._optimizer)
        with (
            undoable,
            scaled_rate(self._optimizer, spec.learning_rate_scale) as learning_rate,
        ):
            for _ in range(spec.epochs):
                if trees:
                    tally = self._accumulate_trees(trees)
                    losses.append(tally.loss)
                    norms.append(self._descend(tally.loss))
                for share in self._shares(samples, generator):
                    losses.append(self._forward_loss().accumulate(share, generator))
                    norms.append(self._descend(losses[-1]))
        self._follow()
        return StepReport(sum(losses) / len(losses), max(norms), learning_rate, tally, len(samples))

    def progress(self) -> dict[str, Any]:
        """Optimiser and old policy, as plain containers of tensors and numbers."""
        return {"optimizer": self._optimizer.state_dict(), "old": self._old}

    def resume(self, progress: dict[str, Any]) -> None:
        """Takes up what `progress` gave; the weights are restored by whoever owns the network."""
        self._optimizer.load_state_dict(progress["optimizer"])
        with torch.no_grad():
            for old, kept in zip(self._old, progress["old"], strict=True):
                old.copy_(kept)

    def _accumulate_trees(self, trees: Sequence[TreeLoss]) -> Tally:
        """Trees of all shapes count alike. A strategy's clip is meant for ratios of tokens and does not count here."""
        clip = self._settings.tree.clip
        rule = LossRule(clip, clip, self._settings.tree.balance == "depth", self._settings.trainer.rows)
        count = sum(len(loss.trees.prompts) for loss in trees)
        total = Tally()
        for loss in trees:
            total.add(loss.accumulate(self._denoiser, rule, len(loss.trees.prompts) / count))
        return total

    def _shares(
        self, samples: Sequence[WeightedSample], generator: torch.Generator
    ) -> Iterator[list[WeightedSample]]:
        """The samples in random order, as many equal parts as the settings want optimiser steps."""
        order = torch.randperm(len(samples), generator=generator)
        for part in order.tensor_split(self._settings.forward.steps):
            if len(part):
                yield [samples[place] for place in part.tolist()]

    def _forward_loss(self) -> ForwardLoss:
        settings = self._settings
        return ForwardLoss(self._denoiser, settings.forward, self._as_old, settings.trainer.rows)

    @contextmanager
    def _as_old(self) -> Iterator[None]:
        """Within it the network has the old policy's weights."""
        current = [parameter.data for parameter in self._trained]
        _point(self._trained, self._old)
        try:
            yield
        finally:
            _point(self._trained, current)

    def _descend(self, loss: float) -> float:
        """One optimiser step with the gradients that are there, which it uses up. Returns their norm."""
        norm = float(torch.nn.utils.clip_grad_norm_(self._trained, self._settings.trainer.max_grad_norm))
        finite = torch.isfinite(torch.tensor([loss, norm])).all()
        if finite:
            self._optimizer.step()
        self._optimizer.zero_grad()
        if not finite:
            raise DivergedError(f"loss {loss}, gradient norm {norm}")
        return norm

    @torch.no_grad()
    def _follow(self) -> None:
        for old, parameter in zip(self._old, self._trained, strict=True):
            old.lerp_(parameter, 1 - self._settings.forward.old_decay)


def _point(parameters: Sequence[torch.nn.Parameter], tensors: Sequence[Tensor]) -> None:
    for parameter, tensor in zip(parameters, tensors, strict=True):
        parameter.data = tensor
