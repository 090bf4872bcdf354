"""The base of the strategies that wait for every rollout of a round: all but APRIL."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from policies.advantage import focal, group_relative
from policies.rollout import Group, TrainGroup
from policies.strategies.base import TRAIN, Admission, GroupDecision, LiveView, StepInfo
from policies.strategies.difficulty import measure
from policies.strategies.open_groups import OpenGroup
from policies.strategies.settings import GroupSettings

S = TypeVar("S", bound=GroupSettings)


@dataclass(frozen=True, slots=True)
class Synchronous(Generic[S]):
    """N rollouts a problem at once; groups that teach nothing are dropped."""

    settings: S

    @property
    def max_age(self) -> int:
        return 0

    def open_groups(self, step: StepInfo) -> int:
        return step.wanted

    def demand(self, step: StepInfo, groups: Sequence[OpenGroup]) -> Sequence[int]:
        return [0 if group.rollouts else self.settings.rollouts for group in groups]

    def stop(self, live: LiveView) -> bool:
        return False

    def admit(self, step: StepInfo, group: Group) -> Admission:
        reason = no_signal(step, group)
        return Admission(GroupDecision.DROP, reason) if reason else TRAIN


def resampled(step: StepInfo, group: Group, replace: float) -> Admission:
    """Dynamic sampling (DAPO, arXiv 2503.14476, sec. 3.2): a group of equal rewards is replaced by another one.

    At most `replace` times the wanted groups are replaced in a round; those beyond are dropped.
    """
    reason = no_signal(step, group)
    if reason is None:
        return TRAIN
    spare = step.replaced < math.ceil(replace * step.wanted)
    return Admission(GroupDecision.REPLACE if spare else GroupDecision.DROP, reason)


def no_signal(step: StepInfo, group: Group) -> str | None:
    """Why a group of equal rewards has nothing to teach; None for any other."""
    if not group.zero_advantage:
        return None
    return "all_right" if measure(group.rewards, step.correct_reward).correct else "all_wrong"


def group_relative_batch(groups: Sequence[Group], *, scale_by_std: bool) -> list[TrainGroup]:
    """Each group with its advantages over its own mean; see `group_relative`."""
    return [TrainGroup(g, group_relative(g.rewards, scale_by_std=scale_by_std)) for g in groups]


def weigh(
    step: StepInfo, groups: Sequence[Group], batch: Iterable[TrainGroup], gamma: float
) -> tuple[TrainGroup, ...]:
    """The batch under F-GRPO's weight, by the share right of the whole `groups` that it was made of."""
    shares = [float(measure(group.rewards, step.correct_reward).rate) for group in groups]
    return tuple(
        TrainGroup(train.group, focal(train.advantages, share, gamma))
        for train, share in zip(batch, shares, strict=True)
    )
