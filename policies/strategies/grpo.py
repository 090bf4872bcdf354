"""GRPO (arXiv 2402.03300): N rollouts a problem, the advantage of each its reward minus the group's mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.policy import UpdateSpec
from policies.rollout import Group
from policies.strategies.base import TRAIN, Admission, StepInfo, Update
from policies.strategies.settings import GrpoSettings
from policies.strategies.synchronous import Synchronous, group_relative_batch, resampled, weigh


@dataclass(frozen=True, slots=True)
class Grpo(Synchronous[GrpoSettings]):
    """The baseline."""

    def admit(self, step: StepInfo, group: Group) -> Admission:
        return TRAIN if self.settings.keep_zero_advantage else resampled(step, group, self.settings.replace)

    def update(self, step: StepInfo, groups: Sequence[Group]) -> Update:
        plain = group_relative_batch(groups, scale_by_std=self.settings.scale_by_std)
        return Update(weigh(step, groups, plain, self.settings.focal_gamma), UpdateSpec())
