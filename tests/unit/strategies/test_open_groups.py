"""The own-rollout pool: what it keeps, and that a kill loses nothing."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from scored import open_group, problem, rollout
from strategy_world import COMPOSITIONS, RUN_SEED, SeededPolicy, conserved, play_round

from policies.rollout import Finish, Rollout, Segment
from policies.strategies.open_groups import UNBEGUN, OpenGroup, OpenGroups
from policies.strategies.rollout_phase import Decision

ROUNDS = 8


def through_json(snapshot: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(snapshot))


def through_msgpack(snapshot: dict[str, Any]) -> dict[str, Any]:
    return msgpack.unpackb(msgpack.packb(snapshot))


def restored(snapshot: dict[str, Any]) -> OpenGroups:
    pool = OpenGroups(RUN_SEED)
    pool.restore(snapshot)
    return pool


def test_a_group_grows_and_remembers_its_first_stage() -> None:
    group = OpenGroup(1, 0, problem(0)).extended(2)
    assert (group.first, group.rollouts, group.running) == (2, (UNBEGUN, UNBEGUN), (0, 1))
    group = group.with_rollouts({1: rollout(1.0)})
    assert group.running == (0,) and not group.settled
    group = group.with_rollouts({0: rollout(None)})
    assert group.running == () and not group.settled  # finished, but not scored
    group = group.with_rollouts({0: rollout(0.0)})
    assert group.settled and group.extended(3).first == 2


def test_the_age_of_a_group_is_that_of_its_oldest_token() -> None:
    assert OpenGroup(1, 0, problem(0)).extended(2).oldest_version is None
    empty = Rollout("", (Segment(1, (), ()),), Finish.UNFINISHED)
    younger = Rollout("x", (Segment(4, (1,), (-1.0,)), Segment(6, (1,), (-1.0,))), Finish.UNFINISHED)
    assert OpenGroup(1, 0, problem(0), 2, (empty, younger)).oldest_version == 4


def test_difficulty_needs_all_of_stage_one() -> None:
    with pytest.raises(ValueError, match="unscored"):
        open_group([1.0, None]).difficulty(1.0)


@pytest.mark.parametrize("through", [through_json, through_msgpack])
def test_a_snapshot_is_plain_data_and_whole(through: Any) -> None:
    pool = OpenGroups(RUN_SEED)
    policy = SeededPolicy()
    for number in range(1, 6):
        play_round(policy, COMPOSITIONS["april2-dars-et"], pool, number)
    assert pool.groups and pool.partials and pool.dropped
    assert restored(through(pool.snapshot())) == pool


def test_restoring_replaces_what_was_there() -> None:
    pool = OpenGroups(RUN_SEED)
    pool.open(open_group([None, 1.0]))
    pool.restore(OpenGroups(RUN_SEED).snapshot())
    assert pool == OpenGroups(RUN_SEED)


def test_log_probs_that_nobody_knows_stay_unknown() -> None:
    unknown = Rollout("x", (Segment(1, (7,)), Segment(2, (), ())), Finish.UNFINISHED)
    pool = OpenGroups(RUN_SEED, [OpenGroup(1, 0, problem(0), 1, (unknown,))], opened=1)
    assert restored(through_json(pool.snapshot())) == pool


def test_counters_notice_a_lost_group() -> None:
    pool = OpenGroups(RUN_SEED)
    for index in range(3):
        pool.open(open_group([1.0, 0.0], index=index))
    pool.close(open_group([], index=1), dropped=None)
    pool.close(open_group([], index=0), dropped="all_wrong")
    assert (pool.opened, pool.trained, dict(pool.dropped), len(pool.groups)) == (3, 1, {"all_wrong": 1}, 1)
    assert conserved(pool)
    pool.groups.clear()
    assert not conserved(pool)


def uninterrupted(name: str) -> tuple[list[Decision], OpenGroups]:
    policy, pool = SeededPolicy(), OpenGroups(RUN_SEED)
    decisions = [
        d for n in range(1, ROUNDS + 1) for d in play_round(policy, COMPOSITIONS[name], pool, n).decisions
    ]
    return decisions, pool


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_a_kill_at_any_call_and_a_resume_change_nothing(name: str) -> None:
    """The machine goes down at every call of the policy in turn; each time the last checkpoint is resumed."""
    expected, expected_pool = uninterrupted(name)
    policy, pool, decisions = SeededPolicy(), OpenGroups(RUN_SEED), []
    number, call, kills = 1, 1, 0
    while number <= ROUNDS:
        checkpoint, version = through_json(pool.snapshot()), policy.version
        policy.calls, policy.fail_at = 0, call
        try:
            decisions += play_round(policy, COMPOSITIONS[name], pool, number).decisions
        except KeyboardInterrupt:
            kills += 1
            call += 1
            pool, policy = restored(checkpoint), SeededPolicy(version)
            continue
        assert conserved(pool)
        number, call = number + 1, 1
    assert kills >= ROUNDS // 2
    assert decisions == expected and pool == expected_pool
    assert pool.trained + pool.dropped.total() == len(decisions)
