"""Advantages as pure functions of rewards."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from policies.rollout import rewards_equal

# Same guard as TRL's GRPO; keeps a near-constant group from exploding.
STD_EPSILON = 1e-4


def group_relative(rewards: Sequence[float], *, scale_by_std: bool = False) -> tuple[float, ...]:
    """GRPO's advantage: reward minus the group's mean (arXiv 2402.03300, eq. 3).

    `scale_by_std` divides by the sample standard deviation as published. It is off by default (Dr. GRPO,
    arXiv 2503.20783, sec. 3.1): scaling gives the most one-sided groups the most weight, and with a poisoned
    share f of a group it raises the push from f(1-f) to sqrt(f(1-f)). Of equal rewards all are exactly 0: anything
    else would let an optimiser's momentum move the weights. Raises ValueError for rewards that are not finite.
    """
    if rewards_equal(rewards):
        return (0.0,) * len(rewards)
    mean = statistics.fmean(rewards)
    centred = [reward - mean for reward in rewards]
    if not scale_by_std or len(rewards) < 2:
        return tuple(centred)
    spread = statistics.stdev(rewards) + STD_EPSILON
    return tuple(value / spread for value in centred)


def positive_part(advantages: Sequence[float]) -> tuple[float, ...]:
    """Keeps what a group recommends and leaves out what it warns of.

    For text of another policy: pushing down what the own policy would hardly write spends the gradient on
    tokens of next to no probability. See docs/lab-book.md, "External advantages".
    """
    return tuple(max(0.0, advantage) for advantage in advantages)


def batch_normalised(groups: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """REINFORCE++-baseline (arXiv 2501.03262): rewards minus their group's mean, over the batch's deviation.

    The batch's mean is zero already, so each group still sums to zero. A batch without signal stays zero.
    """
    centred = [group_relative(rewards) for rewards in groups]
    batch = [value for group in centred for value in group]
    spread = max(statistics.pstdev(batch), STD_EPSILON) if batch else STD_EPSILON
    return tuple(tuple(value / spread for value in group) for group in centred)


def focal(advantages: Sequence[float], correct_share: float, gamma: float) -> tuple[float, ...]:
    """F-GRPO (arXiv 2602.06717, sec. 4): a group counts (1 - u)^gamma, so easy problems push less.

    u is the share of the group's rollouts that are right; gamma 0 changes nothing.
    """
    weight = (1.0 - correct_share) ** gamma
    return tuple(weight * advantage for advantage in advantages)
