"""Share of groups that are usable, neither all right nor all wrong, by the number of rollouts a problem gets."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AccuracyMix:
    """How accurate the policy is over a set of problems: some are decided, the others Beta(shape, shape)."""

    decided: float  # share of problems that the policy never or always solves, whatever N
    shape: float  # below 1: most of the others are nearly decided too

    def usable(self, rollouts: int) -> float:
        """(1 - decided) E[1 - p^N - (1-p)^N], exactly: E[p^N] is the product of (shape + i) / (2 shape + i), i < N."""
        one_sided = math.prod((self.shape + i) / (2 * self.shape + i) for i in range(rollouts))
        return (1 - self.decided) * (1 - 2 * one_sided)


def calibrated(decided: float, rollouts: int, usable: float) -> AccuracyMix:
    """The mix with that share of decided problems whose groups of `rollouts` are usable at the rate `usable`.

    Raises ValueError where so few undecided problems are left that no shape reaches the rate.
    """
    low, high = 1e-6, 1e6  # the rate rises with the shape
    if not AccuracyMix(decided, low).usable(rollouts) < usable < AccuracyMix(decided, high).usable(rollouts):
        raise ValueError(f"no mix with {decided:.0%} decided problems has {usable:.0%} usable groups")
    while high / low > 1 + 1e-12:
        middle = math.sqrt(low * high)
        if AccuracyMix(decided, middle).usable(rollouts) < usable:
            low = middle
        else:
            high = middle
    return AccuracyMix(decided, low)
