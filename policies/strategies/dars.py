"""Difficulty-adaptive rollouts (DARS, arXiv 2508.13755): hard problems get a second stage of rollouts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from policies.policy import UpdateSpec
from policies.rollout import Finish, Group, Rollout
from policies.strategies.base import StepInfo, Update
from policies.strategies.open_groups import OpenGroup
from policies.strategies.settings import DarsSettings
from policies.strategies.synchronous import Synchronous, group_relative_batch, weigh


@dataclass(frozen=True, slots=True)
class Dars(Synchronous[DarsSettings]):
    """Groups grow with the difficulty that stage 1 found; both stages share one mean."""

    def demand(self, step: StepInfo, groups: Sequence[OpenGroup]) -> Sequence[int]:
        wanted = [self._wanted(step, group) for group in groups]
        if self.settings.token_budget is None:
            return wanted
        return clip_to_budget(step, groups, wanted, self.settings.token_budget)

    def update(self, step: StepInfo, groups: Sequence[Group]) -> Update:
        plain = group_relative_batch(groups, scale_by_std=self.settings.scale_by_std)
        return Update(weigh(step, groups, plain, self.settings.focal_gamma), self._spec())

    def _spec(self) -> UpdateSpec:
        """DARS-B's full batch over several epochs, each rollout divided by the same length; or a plain step."""
        if (breadth := self.settings.breadth) is None:
            return UpdateSpec()
        return UpdateSpec(breadth.epochs, clip=breadth.clip, constant_length=breadth.constant_length)

    def _wanted(self, step: StepInfo, group: OpenGroup) -> int:
        """Stage 1 at once; stage 2 when all of stage 1 is scored, for the first to finish are the short ones."""
        if not group.rollouts:
            return self.settings.rollouts
        if not group.settled or len(group.rollouts) > group.first:
            return 0
        stage_one, settings = group.difficulty(step.correct_reward), self.settings
        if not stage_one.rollouts:  # none of them came to a verdict: more would fare no better
            return 0
        return extra_rollouts(
            stage_one.correct,
            stage_one.rollouts,
            settings.max_rollouts,
            settings.schedule,
            scale_by_std=settings.scale_by_std,
        )


def clip_to_budget(
    step: StepInfo, groups: Sequence[OpenGroup], wanted: Sequence[int], token_budget: int
) -> list[int]:
    """What is wanted, with stage 2 clipped to the tokens that the round has left: largest gap first.

    The gap between the cumulative advantage and its target falls with the rate of stage 1 under either
    schedule. A rollout is taken to cost the mean length of its group's first stage. Stage 1 is never clipped.
    """
    granted = list(wanted)
    growing = [i for i, group in enumerate(groups) if group.rollouts and wanted[i]]
    if not growing:
        return granted
    usual = _mean_length(r for group in groups for r in group.rollouts)
    left = token_budget - step.tokens - usual * sum(len(group.running) for group in groups)
    for i in sorted(growing, key=lambda i: groups[i].difficulty(step.correct_reward).rate):
        cost = _mean_length(groups[i].rollouts)
        granted[i] = min(wanted[i], max(0, int(left / cost)))
        left -= cost * granted[i]
    return granted


def _mean_length(rollouts: Iterable[Rollout]) -> float:
    """Tokens of a finished rollout, of which there must be one."""
    finished = (r for r in rollouts if r.finish is not Finish.UNFINISHED)
    return max(1.0, statistics.fmean(len(rollout.token_ids) for rollout in finished))


def extra_rollouts(
    correct: int,
    rollouts: int,
    cap: int,
    schedule: Literal["equal", "hardness"],
    *,
    scale_by_std: bool = False,
) -> int:
    """Rollouts of stage 2 for a problem with `correct` of `rollouts` right in stage 1; at most cap - rollouts.

    Of u = correct / rollouts and the cumulative advantage of a rollout S(u) = 2u(1-u), with std 2 sqrt(u(1-u)),
    the total M is the least with M S(u) >= target: the peak n S(1/2) for "equal" (ET), 2(1-u) times the peak
    for "hardness" (HW). Unscaled, M = n / (4u(1-u)) and M = n / (2u). None from u = 1/2 on.
    """
    if not 0 <= correct <= rollouts or rollouts < 1:
        raise ValueError(f"{correct} of {rollouts} rollouts cannot be correct")
    # Nothing right is half a right one, which keeps S above zero.
    rate = Fraction(correct, rollouts) if correct else Fraction(1, 2 * rollouts)
    if 2 * rate >= 1:
        return 0
    peak = Fraction(rollouts, 1 if scale_by_std else 2)
    target = peak if schedule == "equal" else 2 * (1 - rate) * peak
    spread = rate * (1 - rate)
    # Rational to the end: in floats a total of exactly 16 is 16.0000001 at times, and its ceiling 17.
    total = _ceil_sqrt(target**2 / (4 * spread)) if scale_by_std else math.ceil(target / (2 * spread))
    return max(0, min(total, cap) - rollouts)


def _ceil_sqrt(square: Fraction) -> int:
    """The least whole m with m * m >= square, which is above zero."""
    return math.isqrt(math.ceil(square) - 1) + 1
