"""Groups of known rewards for the tests of strategies."""

from __future__ import annotations

from collections.abc import Sequence

from policies.rollout import Finish, Group, Problem, Rollout, Segment
from policies.strategies.base import StepInfo
from policies.strategies.open_groups import OpenGroup

STEP = StepInfo(round=3, policy_version=2, wanted=4)


def rollout(reward: float | None, length: int = 10, finish: Finish = Finish.STOP) -> Rollout:
    return Rollout("x" * length, (Segment(2, (1,) * length, (-1.0,) * length),), finish, reward)


def group(*rewards: float, seed: int = 0, origin: str | None = None) -> Group:
    return Group(problem(seed), tuple(map(rollout, rewards)), origin)


def problem(seed: int) -> Problem:
    return Problem("world@1", seed, f"problem {seed}", "right")


def open_group(
    rewards: Sequence[float | None], first: int | None = None, index: int = 0, length: int = 10
) -> OpenGroup:
    """A group whose rollouts of reward None still run."""
    made = tuple(rollout(r, length, Finish.UNFINISHED if r is None else Finish.STOP) for r in rewards)
    return OpenGroup(3, index, problem(index), len(made) if first is None else first, made)


def of(correct: int, count: int) -> list[float]:
    return [1.0] * correct + [0.0] * (count - correct)
