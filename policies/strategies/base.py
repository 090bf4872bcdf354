"""The Strategy interface: rollouts a problem, when sampling stops, the groups to train on, and how to update.

`rollout_phase` drives every strategy.

A strategy is a frozen value without state: what it needs to know is in the groups and in the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from policies.policy import UpdateSpec
from policies.rollout import Group, TrainGroup
from policies.strategies.open_groups import OpenGroup


@dataclass(frozen=True, slots=True)
class StepInfo:
    """The round that is being played."""

    round: int
    policy_version: int
    wanted: int  # own groups that the round is to decide on
    correct_reward: float = 1.0  # from which a rollout counts as right
    replaced: int = 0  # groups replaced in this round so far; kept by the driver
    tokens: int = 0  # sampled in this round so far; kept by the driver


@dataclass(frozen=True, slots=True)
class LiveView:
    """What a call to the policy has got done so far."""

    wanted: int  # groups that the round still waits for
    settled: int  # groups of which no rollout runs any more


class GroupDecision(StrEnum):
    """What becomes of a complete group."""

    TRAIN = "train"
    DROP = "drop"  # not trained on, but it takes one of the wanted places
    REPLACE = "replace"  # not trained on, and another group takes its place


@dataclass(frozen=True, slots=True)
class Admission:
    """A decision, and why a group is not trained on."""

    decision: GroupDecision
    reason: str | None = None  # None for TRAIN alone


TRAIN = Admission(GroupDecision.TRAIN)


@dataclass(frozen=True, slots=True)
class Update:
    """What the policy is to learn from, and how."""

    batch: tuple[TrainGroup, ...]
    spec: UpdateSpec


class Strategy(Protocol):
    """Pure: equal arguments give equal answers."""

    @property
    def max_age(self) -> int:
        """Policy versions that a group's oldest token may be behind; then the group is finished first.

        0: every group is decided in the round that opened it.
        """
        ...

    def open_groups(self, step: StepInfo) -> int:
        """Groups to hold open at the start of a round."""
        ...

    def demand(self, step: StepInfo, groups: Sequence[OpenGroup]) -> Sequence[int]:
        """Further rollouts wanted now of each group. A group without rollouts is about to be opened.

        A settled group of which no more are wanted is complete.
        """
        ...

    def stop(self, live: LiveView) -> bool:
        """Cut the call to the policy now and carry on later what is unfinished?"""
        ...

    def admit(self, step: StepInfo, group: Group) -> Admission:
        """What becomes of a complete group."""
        ...

    def update(self, step: StepInfo, groups: Sequence[Group]) -> Update:
        """Advantages and the manner of the update, for own and external groups together."""
        ...
