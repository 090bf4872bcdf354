"""APRIL (arXiv 2509.18521): open too many groups, stop when enough are complete, carry the rest on.

The groups that are carried on live in `open_groups`; `rollout_phase` takes them up again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from policies.rollout import Group
from policies.strategies.base import Admission, LiveView, StepInfo, Strategy, Update
from policies.strategies.open_groups import OpenGroup
from policies.strategies.settings import AprilSettings


@dataclass(frozen=True, slots=True)
class April:
    """Decides how much is open and when to stop; all else is the inner strategy's business."""

    settings: AprilSettings
    inner: Strategy

    @property
    def max_age(self) -> int:
        return self.settings.max_age

    def open_groups(self, step: StepInfo) -> int:
        # As it is written: in floats 1.1 times 50 is a little more than 55, and its ceiling 56.
        return math.ceil(Fraction(str(self.settings.oversample)) * self.inner.open_groups(step))

    def demand(self, step: StepInfo, groups: Sequence[OpenGroup]) -> Sequence[int]:
        return self.inner.demand(step, groups)

    def stop(self, live: LiveView) -> bool:
        return live.settled >= live.wanted

    def admit(self, step: StepInfo, group: Group) -> Admission:
        return self.inner.admit(step, group)

    def update(self, step: StepInfo, groups: Sequence[Group]) -> Update:
        update = self.inner.update(step, groups)
        return replace(update, spec=replace(update.spec, stale=self.settings.stale))
