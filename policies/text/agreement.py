"""The trainer's log-probs of fresh own tokens, compared with those that the sampler recorded."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf

import torch
from transformers import PreTrainedModel

from policies.policy import Rounding, SamplerAgreement
from policies.text.batching import Row
from policies.text.settings import TextSettings

# Where both compute in float32.
EXACT = Rounding(mean=1e-3, clipped=0.02)
# Where one of them computes in bfloat16. SmolLM2 and Gemma clip 2 to 9 % of a round's few hundred fresh tokens once
# they are sure of most of them.
ROUNDED = Rounding(mean=0.1, clipped=0.1)


def expected_rounding(model: PreTrainedModel, sampled: torch.dtype, settings: TextSettings) -> Rounding:
    """What the types of weights, sampling and training explain."""
    types = {model.dtype, sampled}
    return EXACT if types == {torch.float32} and settings.trainer.bf16 is not True else ROUNDED


class AgreementMeter:
    """Gathers differences over micro-batches. `clip`: epsilon low and high."""

    def __init__(self, clip: tuple[float, float], rounding: Rounding) -> None:
        self._least, self._most = 1 - clip[0], 1 + clip[1]
        self._rounding = rounding
        self._differences: list[float] = []

    def add(self, rows: Sequence[Row], scored: Sequence[Sequence[float]]) -> None:
        """`scored`: the trainer's log-probs of each row's tokens, padding behind them."""
        for row, values in zip(rows, scored, strict=True):
            marks = row.stale or (False,) * len(row.token_ids)
            pairs = zip(row.sampled or (), marks, values, strict=False)
            self._differences += [value - recorded for recorded, stale, value in pairs if not stale]

    def result(self) -> SamplerAgreement | None:
        """None where no token was fresh."""
        if not self._differences:
            return None
        tokens = len(self._differences)
        clipped = sum(not self._least <= exp(min(d, 50.0)) <= self._most for d in self._differences)
        sizes = [abs(d) if d == d else inf for d in self._differences]
        return SamplerAgreement(tokens, sum(sizes) / tokens, max(sizes), clipped / tokens, self._rounding)
