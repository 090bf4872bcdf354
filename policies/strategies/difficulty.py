"""Difficulty of a problem for this policy: the share of its rollouts that are right, as an exact ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

# From which an answer counts as right where it is judged; a strategy's own is `correct_reward`.
RIGHT_REWARD = 1.0


@dataclass(frozen=True, slots=True)
class Difficulty:
    """`correct` of `rollouts` are right."""

    correct: int
    rollouts: int

    @property
    def rate(self) -> Fraction:
        """Of no rollouts, as where none came to a verdict, 0."""
        return Fraction(self.correct, self.rollouts or 1)


def measure(rewards: Sequence[float], correct_reward: float) -> Difficulty:
    """Counts a reward of at least `correct_reward` as right; tasks may give partial credit below it."""
    return Difficulty(sum(reward >= correct_reward for reward in rewards), len(rewards))
