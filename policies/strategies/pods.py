"""Down-sampling before the update (PODS, arXiv 2504.13818): generation is cheap, the backward pass is not."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

from policies.rollout import Group


def max_variance_subset(rewards: Sequence[float], keep: int) -> tuple[int, ...]:
    """Indices, ascending, of the `keep` rewards with the largest variance. Exact, in O(n log n).

    Some number of the smallest rewards and the rest of the largest attain it (PODS, theorem 1), so only
    those splits are compared. Raises ValueError unless 1 <= keep <= the number of rewards.
    """
    if not 1 <= keep <= len(rewards):
        raise ValueError(f"cannot keep {keep} of {len(rewards)} rollouts")
    order = sorted(range(len(rewards)), key=lambda i: rewards[i])
    exact = [Fraction(rewards[i]) for i in order]
    sums = list(accumulate(exact, initial=Fraction(0)))
    squares = list(accumulate((x * x for x in exact), initial=Fraction(0)))

    def spread(low: int) -> Fraction:
        """keep^2 times the variance of the `low` smallest with the others from the top."""
        top = len(exact) - (keep - low)
        total = sums[low] + sums[-1] - sums[top]
        return keep * (squares[low] + squares[-1] - squares[top]) - total * total

    low = max(range(keep + 1), key=spread)
    return tuple(sorted(order[:low] + order[len(order) - (keep - low) :]))


def down_sampled(group: Group, keep: int) -> Group:
    """The group with its most telling rollouts; as it is when it has no more than `keep`."""
    if len(group.rollouts) <= keep:
        return group
    chosen = max_variance_subset(group.rewards, keep)
    return Group(group.problem, tuple(group.rollouts[i] for i in chosen), group.origin)
