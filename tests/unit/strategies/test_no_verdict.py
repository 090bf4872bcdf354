"""Rollouts without a verdict: left out of their groups, counted, and nothing waits for them under any strategy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from strategy_world import COMPOSITIONS, RUN_SEED, SeededPolicy, conserved, draw_of, score

from policies.rollout import Group
from policies.serialise import plain_rollout, read_rollout
from policies.strategies.base import StepInfo, Strategy
from policies.strategies.open_groups import OpenGroups
from policies.strategies.rollout_phase import NO_VERDICT, RolloutPhase, rollout_phase
from policies.unjudged import tell_unjudged

strategies = pytest.mark.parametrize("strategy", COMPOSITIONS.values(), ids=COMPOSITIONS)


def half_judged(group: Group) -> Group:
    """Every third token in a rollout's first place has no verdict, and so does all of every fifth problem."""
    hopeless = group.problem.seed % 5 == 0
    rollouts = [
        replace(r, reward=None, no_verdict=True) if hopeless or r.token_ids[0] % 3 == 0 else r
        for r in score(group).rollouts
    ]
    return replace(group, rollouts=tuple(rollouts))


def unjudged(group: Group) -> Group:
    return replace(group, rollouts=tuple(r.scored(None) for r in group.rollouts))


def play(strategy: Strategy, scored: object, rounds: int) -> list[tuple[RolloutPhase, OpenGroups]]:
    policy, pool, played = SeededPolicy(), OpenGroups(RUN_SEED), []
    for number in range(1, rounds + 1):
        step = StepInfo(number, policy.version, 4)
        phase = rollout_phase(policy, strategy, pool, draw_of(number), scored, step)  # type: ignore[arg-type]
        policy.version += bool(phase.admitted)
        played.append((phase, pool))
    return played


@strategies
def test_they_are_left_out_and_counted_and_no_group_is_lost(strategy: Strategy) -> None:
    seen: list[Group] = []

    def scored(group: Group) -> Group:
        seen.append(half_judged(group))
        return seen[-1]

    played = play(strategy, scored, 6)
    decided = [group for phase, _ in played for group in phase.groups]
    assert decided and all(rollout.reward is not None for group in decided for rollout in group.rollouts)
    without = sum(rollout.no_verdict for group in seen for rollout in group.rollouts)
    assert sum(phase.effort.no_verdict for phase, _ in played) == without > 0
    pool = played[-1][1]
    assert conserved(pool)
    assert pool.dropped[NO_VERDICT] == sum(phase.dropped[NO_VERDICT] for phase, _ in played) > 0


def test_the_first_reason_of_a_round_is_kept_with_what_was_asked() -> None:
    def scored(group: Group) -> Group:
        for number, rollout in enumerate(group.rollouts):
            tell_unjudged("units", rollout.text, f"it raised KeyError: {number}", group.problem.answer)
        return unjudged(group)

    [(phase, _)] = play(COMPOSITIONS["grpo"], scored, 1)
    why = phase.effort.why_unjudged
    assert why is not None and why.startswith("units, on ") and "KeyError: 0. It was asked '" in why


@strategies
def test_a_round_without_any_verdict_ends(strategy: Strategy) -> None:
    for phase, pool in play(strategy, unjudged, 3):
        assert phase.groups == () and phase.dropped.total() == phase.dropped[NO_VERDICT] >= 4
        assert conserved(pool)


def test_it_is_kept_in_checkpoints_and_old_ones_are_read() -> None:
    [(phase, _)] = play(COMPOSITIONS["grpo"], score, 1)
    rollout = phase.groups[0].rollouts[0]
    assert read_rollout(plain_rollout(rollout.scored(None))) == rollout.scored(None)
    plain = plain_rollout(rollout)
    del plain["no_verdict"]
    assert read_rollout(plain) == rollout
