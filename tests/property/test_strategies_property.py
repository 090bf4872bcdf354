"""Any strategy, any settings, any interruption: groups and tokens are conserved."""

from __future__ import annotations

import json
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from strategy_world import CAP, RUN_SEED, SeededPolicy, conserved, play_round

from policies.policy import Stale
from policies.rollout import Finish, Group
from policies.settings import SMALLEST_FRACTION
from policies.strategies import build_strategy
from policies.strategies.base import StepInfo
from policies.strategies.open_groups import OpenGroup, OpenGroups
from policies.strategies.settings import AprilSettings, BrorlSettings, DarsSettings, GrpoSettings

small = st.integers(2, 6)
up_to_two = st.just(0.0) | st.floats(SMALLEST_FRACTION, 2)
inner = st.one_of(
    st.builds(GrpoSettings, rollouts=small, scale_by_std=st.booleans(), focal_gamma=up_to_two),
    st.builds(BrorlSettings, rollouts=st.integers(4, 16), replace=up_to_two, keep=st.sampled_from([None, 4])),
    st.builds(
        DarsSettings,
        rollouts=small,
        max_rollouts=st.integers(6, 24),
        schedule=st.sampled_from(["equal", "hardness"]),
        scale_by_std=st.booleans(),
        token_budget=st.one_of(st.none(), st.integers(1, 2000)),
    ),
)
april = st.builds(
    AprilSettings,
    inner=inner,
    oversample=st.floats(1, 3),
    max_age=st.integers(1, 4),
    stale=st.sampled_from(list(Stale)),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(inner, april), min_size=1, max_size=3),
    st.integers(1, 5),
    st.sets(st.integers(1, 6)),
)
def test_nothing_is_lost_or_trained_on_twice(
    chosen: list[AprilSettings | GrpoSettings], wanted: int, restarts: set[int]
) -> None:
    """Strategies may even change between rounds: what one left, the next one finishes."""
    policy, pool = SeededPolicy(), OpenGroups(RUN_SEED)
    opened = sampled = decided = decided_tokens = 0
    for number in range(1, 7):
        strategy = build_strategy(chosen[number % len(chosen)])
        phase = play_round(policy, strategy, pool, number, wanted)
        opened, sampled = opened + phase.effort.opened, sampled + phase.effort.tokens
        decided += len(phase.decisions)
        decided_tokens += tokens(phase.groups)
        assert conserved(pool) and pool.opened == opened
        assert pool.trained + pool.dropped.total() == decided
        assert sampled == decided_tokens + tokens(pool.groups)
        assert all(len(rollout.token_ids) <= CAP for group in phase.groups for rollout in group.rollouts)
        assert not any(r.finish is Finish.UNFINISHED for group in phase.groups for r in group.rollouts)
        assert max(phase.ages, default=0) <= strategy.max_age or len(chosen) > 1
        if number in restarts:
            kept = json.loads(json.dumps(pool.snapshot()))
            pool = OpenGroups(RUN_SEED)
            pool.restore(kept)


@settings(max_examples=40, deadline=None)
@given(st.one_of(inner, april), st.integers(1, 5))
def test_updates_are_centred_and_cover_every_rollout(
    chosen: AprilSettings | GrpoSettings, wanted: int
) -> None:
    strategy = build_strategy(chosen)
    phase = play_round(SeededPolicy(), strategy, OpenGroups(RUN_SEED), number=1, wanted=wanted)
    update = strategy.update(StepInfo(1, 0, wanted), phase.admitted)
    assert [train.group.problem for train in update.batch] == [group.problem for group in phase.admitted]
    for train in update.batch:
        assert abs(sum(train.advantages)) < 1e-9
        assert any(train.advantages)


def tokens(groups: Iterable[Group | OpenGroup]) -> int:
    return sum(len(rollout.token_ids) for group in groups for rollout in group.rollouts)
