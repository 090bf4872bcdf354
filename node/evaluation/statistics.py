"""pass@k without bias, and 95 % intervals over problems. Pure, and equal inputs give equal outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

RESAMPLES = 4000  # so that the ends of an interval hardly depend on the draw
LEVEL = 0.95  # of the intervals
# What is said of them wherever they are shown.
INTERVALS = (
    "95 % intervals: percentile bootstrap over problems, within tasks. Where every problem has the same value, "
    "nothing can be resampled: the interval then reaches as far as problems of another value may be left out by "
    "chance (Clopper-Pearson)"
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems with its interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def pass_at_k(rollouts: int, correct: int, k: int) -> float:
    """Chance that one of k rollouts is right, of `correct` right ones among `rollouts` (arXiv 2107.03374, eq. 1).

    Raises ValueError where k rollouts cannot be drawn, or more are right than there are.
    """
    if not 1 <= k <= rollouts or not 0 <= correct <= rollouts:
        raise ValueError(f"pass@{k} of {correct} right in {rollouts} rollouts")
    return 1.0 - comb(rollouts - correct, k) / comb(rollouts, k)


def estimate(
    by_task: Mapping[str, Sequence[float]], bounds: tuple[float, float] = (0.0, 1.0), seed: int = 0
) -> Estimate:
    """Mean of the tasks' means, every task weighing the same, with its interval.

    `by_task`: one value a problem, within `bounds`; at least one problem in all.
    """
    samples = [np.asarray(values, dtype=float) for values in by_task.values() if len(values)]
    value = float(np.mean([sample.mean() for sample in samples]))
    if np.ptp(np.concatenate(samples)) == 0:
        return _of_equal(value, sum(map(len, samples)), bounds)
    generator = np.random.default_rng(seed)
    means = np.mean([_resampled(sample, generator) for sample in samples], axis=0)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def _resampled(sample: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Means of RESAMPLES draws with replacement: shape (RESAMPLES,)."""
    counts = generator.multinomial(len(sample), np.full(len(sample), 1 / len(sample)), size=RESAMPLES)
    return np.asarray(counts @ sample / len(sample))


def _of_equal(value: float, problems: int, bounds: tuple[float, float]) -> Estimate:
    """A bootstrap of equal values would claim certainty. Of n problems without an exception, at most this share are
    exceptions: the Clopper-Pearson bound of 0 in n.
    """
    unseen = 1 - ((1 - LEVEL) / 2) ** (1 / problems)
    low, high = bounds
    return Estimate(value, value - unseen * (value - low), value + unseen * (high - value))
