"""APRIL: nothing lost, nothing too old, and nothing different where nothing is over."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from scored import STEP, group
from strategy_world import GRPO, INNER, play

from policies.policy import Stale
from policies.strategies import build_strategy
from policies.strategies.base import LiveView
from policies.strategies.rollout_phase import RolloutPhase
from policies.strategies.settings import AprilSettings, GroupSettings


def april(inner: GroupSettings = GRPO, **changes: object) -> AprilSettings:
    return AprilSettings.model_validate({"inner": inner, **changes})


@pytest.mark.parametrize("inner", INNER, ids=lambda inner: inner.type)
def test_over_one_is_the_inner_strategy_token_for_token(inner: GroupSettings) -> None:
    plain, carried = (
        [(phase.decisions, phase.effort) for phase, _ in play(build_strategy(settings), rounds=8)]
        for settings in (inner, april(inner, oversample=1.0))
    )
    assert plain == carried


@pytest.mark.parametrize(("over", "groups"), [(1.0, 50), (1.1, 55), (1.25, 63), (1.5, 75), (2.0, 100)])
def test_what_is_held_open_is_exact(over: float, groups: int) -> None:
    assert build_strategy(april(oversample=over)).open_groups(replace(STEP, wanted=50)) == groups


def test_it_stops_when_the_wanted_number_is_complete() -> None:
    strategy = build_strategy(april())
    assert not strategy.stop(LiveView(wanted=4, settled=3))
    assert strategy.stop(LiveView(wanted=4, settled=4))


@pytest.mark.parametrize("stale", list(Stale))
def test_the_update_is_the_inner_ones_but_for_stale_tokens(stale: Stale) -> None:
    groups = [group(1, 0, 0), group(1, 1, 0)]
    inner, outer = build_strategy(GRPO), build_strategy(april(stale=stale))
    expected = inner.update(STEP, groups)
    assert outer.update(STEP, groups) == replace(expected, spec=replace(expected.spec, stale=stale))
    assert outer.admit(STEP, group(1, 1)) == inner.admit(STEP, group(1, 1))


@pytest.mark.parametrize("max_age", [1, 2, 4])
@pytest.mark.parametrize("over", [1.25, 2.0, 5.0])
def test_no_trained_token_is_older_than_the_maximum_age(over: float, max_age: int) -> None:
    phases = [phase for phase, _ in play(build_strategy(april(oversample=over, max_age=max_age)), rounds=30)]
    oldest = max(age for phase in phases for age in phase.ages)
    assert oldest == max_age if over == 5.0 else 0 < oldest <= max_age


def test_old_groups_are_finished_and_never_dropped() -> None:
    """At 5 times over, more groups come of age than are wanted, and all of them are decided."""
    phases = [phase for phase, _ in play(build_strategy(april(oversample=5.0, max_age=1)), rounds=10)]
    assert max(len(phase.decisions) for phase in phases) > 4
    assert {reason for phase in phases for reason in phase.dropped} <= {"all_right", "all_wrong"}


def test_surplus_groups_are_the_next_rounds_first() -> None:
    for inner in INNER:
        settings = april(inner, oversample=2.0)
        waiting: list[int] = []
        surplus = 0
        for phase, pool in play(build_strategy(settings), rounds=20):
            decided = [decision.group.problem.seed for decision in phase.decisions]
            assert decided[: len(waiting)] == waiting[: len(decided)]
            still = [(g.settled, g.problem.seed) for g in pool.groups]
            demand = build_strategy(settings).demand(STEP, pool.groups)
            waiting = [
                seed for (settled, seed), more in zip(still, demand, strict=True) if settled and not more
            ]
            surplus += len(waiting)
        assert surplus > 0


def test_carrying_on_wastes_less_and_reports_how_stale_it_is() -> None:
    idle, stale = [], []
    for settings in (GRPO, april(oversample=1.5), april(oversample=2.0)):
        phases = [phase for phase, _ in play(build_strategy(settings), rounds=40)]
        idle.append(statistics.fmean(phase.effort.idle_share for phase in phases))
        stale.append(statistics.fmean(phase.stale_share for phase in phases))
    assert idle == sorted(idle, reverse=True)
    assert stale == sorted(stale) and stale[0] == 0.0


@pytest.mark.parametrize("over", [1.5, 2.0])
def test_rollouts_are_as_long_as_plain_ones_after_warm_up(over: float) -> None:
    plain, carried = (
        [phase for phase, _ in play(build_strategy(settings), rounds=150, wanted=8)]
        for settings in (GRPO, april(oversample=over))
    )
    assert mean_length(carried[10:]) == pytest.approx(mean_length(plain[10:]), rel=0.02)
    # The first to finish are the short ones. Whoever drops the others keeps this bias for good.
    assert mean_length(carried[:1]) < 0.95 * mean_length(plain[:1])


def mean_length(phases: list[RolloutPhase]) -> float:
    rollouts = (rollout for phase in phases for group in phase.groups for rollout in group.rollouts)
    return statistics.fmean(len(rollout.token_ids) for rollout in rollouts)
