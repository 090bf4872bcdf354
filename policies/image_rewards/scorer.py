"""The interface of image reward models, and the mapping of their scores into [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

# Images (B, 3, H, W) in [0, 1] and a prompt for each, to (B,) figures on the model's own scale.
RawScore = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]


class Scorer(Protocol):
    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """Images (B, 3, H, W) in [0, 1] and a prompt for each, to rewards (B,) in [0, 1], float32, on the CPU."""
        ...


@dataclass(frozen=True, slots=True)
class Scaled:
    """A model's own scale, mapped straight: `low` to 0 and `high` to 1, cut off beyond.

    Straight, so that group-relative advantages are those of the published score wherever it is not cut off.
    """

    raw: RawScore
    low: float
    high: float
    batch: int

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images, {len(prompts)} prompts")
        found = [
            self.raw(images[start : start + self.batch], prompts[start : start + self.batch]).float().cpu()
            for start in range(0, len(images), self.batch)
        ]
        scaled = (torch.cat(found) - self.low) / (self.high - self.low) if found else torch.empty(0)
        return scaled.clamp(0.0, 1.0)
