"""The driver of all strategies, on a world of seeded lengths and known difficulty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from scored import open_group
from strategy_world import (
    BRORL,
    CAP,
    COMPOSITIONS,
    EQUAL,
    GRPO,
    RUN_SEED,
    SeededPolicy,
    conserved,
    draw_of,
    length_of,
    play,
    play_round,
    score,
    token,
)

from policies.policy import RolloutRequest, Stop, never
from policies.rollout import Finish, Group, Problem, Rollout
from policies.seeds import derive_seed
from policies.strategies import build_strategy
from policies.strategies.base import GroupDecision, StepInfo
from policies.strategies.dars import extra_rollouts
from policies.strategies.open_groups import OpenGroups
from policies.strategies.rollout_phase import Effort, RolloutPhase, _Watch, rollout_phase
from policies.strategies.settings import AprilSettings, DarsSettings, GroupSettings

NAMES = list(COMPOSITIONS)


@dataclass
class Recorder(SeededPolicy):
    """Remembers what it was asked for and what it gave."""

    asked: list[list[RolloutRequest]] = field(default_factory=list)
    gave: list[list[Rollout]] = field(default_factory=list)

    def sample(
        self, requests: Sequence[RolloutRequest], *, stop: Stop = never, held_out: bool = False
    ) -> list[Rollout]:
        self.asked.append(list(requests))
        self.gave.append(super().sample(requests, stop=stop, held_out=held_out))
        return self.gave[-1]


def begun_tokens(request: RolloutRequest) -> int:
    return len(request.begun.token_ids) if request.begun else 0


def test_grpo_decides_every_wanted_group_in_one_call() -> None:
    policy, pool = Recorder(), OpenGroups(RUN_SEED)
    phase = play_round(policy, build_strategy(GRPO), pool, number=1)
    assert len(policy.asked) == phase.effort.calls == 1 and len(policy.asked[0]) == 4 * 4
    assert [g.problem for g in phase.groups] == draw_of(1)(0, 4)
    assert pool.groups == [] and phase.effort.left == 0
    assert len(phase.admitted) + phase.dropped.total() == 4
    assert phase.stale_share == 0.0


def test_keys_and_tokens_follow_from_seed_round_group_and_rollout() -> None:
    policy = Recorder()
    phase = play_round(policy, build_strategy(GRPO), OpenGroups(RUN_SEED), number=5)
    keys = [derive_seed(RUN_SEED, "rollout", 5, group, rollout) for group in range(4) for rollout in range(4)]
    assert [request.key for request in policy.asked[0]] == keys
    rollouts = [rollout for group in phase.groups for rollout in group.rollouts]
    for request, rollout in zip(policy.asked[0], rollouts, strict=True):
        length = min(CAP, length_of(request.problem, request.key))
        assert rollout.token_ids == tuple(token(request.key, position) for position in range(length))


@pytest.mark.parametrize("name", NAMES)
def test_trained_rollouts_are_whole_and_scored_once(name: str) -> None:
    seen: set[tuple[int, ...]] = set()
    for phase, _ in play(COMPOSITIONS[name], rounds=12):
        for group in phase.groups:
            assert group.rewards == score(Group(group.problem, tuple(map(unscored, group.rollouts)))).rewards
            for rollout in group.rollouts:
                versions = [segment.policy_version for segment in rollout.segments if segment.token_ids]
                assert rollout.finish is not Finish.UNFINISHED and versions == sorted(versions)
                assert (rollout.finish is Finish.LENGTH) <= (len(rollout.token_ids) == CAP)
                assert rollout.logprobs is not None and len(rollout.logprobs) == len(rollout.token_ids)
                if len(rollout.token_ids) > 3:  # shorter ones may agree by chance
                    assert rollout.token_ids not in seen
                    seen.add(rollout.token_ids)


def unscored(rollout: Rollout) -> Rollout:
    return Rollout(rollout.text, rollout.segments, rollout.finish)


def test_a_resumed_rollout_is_what_an_uninterrupted_one_would_be() -> None:
    carried = [
        rollout
        for phase, _ in play(COMPOSITIONS["april2-grpo"], rounds=20)
        for group in phase.groups
        for rollout in group.rollouts
        if len({segment.policy_version for segment in rollout.segments}) > 1
    ]
    assert len(carried) > 20
    for rollout in carried:
        assert rollout.logprobs == tuple(
            -(1 + i % 7 + segment.policy_version) / 8
            for segment in rollout.segments
            for i in segment.token_ids
        )


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("april")])
def test_carried_partials_are_decoded_first(name: str) -> None:
    policy, pool = Recorder(), OpenGroups(RUN_SEED)
    for number in range(1, 9):
        held = {pool.key(group, i): len(group.rollouts[i].token_ids) for group, i in pool.partials}
        policy.asked.clear()
        play_round(policy, COMPOSITIONS[name], pool, number)
        first = policy.asked[0] if policy.asked else []
        assert {request.key: begun_tokens(request) for request in first[: len(held)]} == held


@pytest.mark.parametrize("max_age", [1, 2])
@pytest.mark.parametrize("inner", [GRPO, EQUAL], ids=lambda inner: inner.type)
def test_a_group_of_the_maximum_age_is_not_cut_again(inner: GroupSettings, max_age: int) -> None:
    strategy = build_strategy(
        AprilSettings.model_validate({"inner": inner, "oversample": 3.0, "max_age": max_age})
    )
    policy, pool, carried = Recorder(), OpenGroups(RUN_SEED), 0
    for number in range(1, 21):
        oldest = policy.version - max_age
        due = {g.problem for g in pool.groups if g.oldest_version is not None and g.oldest_version <= oldest}
        policy.asked.clear()
        policy.gave.clear()
        phase = play_round(policy, strategy, pool, number)
        for asked, gave in zip(policy.asked, policy.gave, strict=True):
            finishes = [r.finish for q, r in zip(asked, gave, strict=True) if q.problem in due]
            assert Finish.UNFINISHED not in finishes
            carried += len(finishes)
        assert due <= {group.problem for group in phase.groups}
    assert carried > 0


def test_a_call_is_cut_once_no_group_of_the_maximum_age_runs() -> None:
    watch = _Watch(build_strategy(AprilSettings(inner=GRPO)), [(1, 0), (1, 0), (2, 0)], {(1, 0)}, wanted=1)
    assert not watch([2])  # as many as are wanted, but the old group runs
    assert not watch([0])
    assert watch([1])


def test_dars_gives_each_problem_what_its_first_stage_earned() -> None:
    decisions = [d for phase, _ in play(build_strategy(EQUAL), rounds=20) for d in phase.decisions]
    totals: Counter[int] = Counter()
    for decision in decisions:
        first = decision.group.rollouts[:4]
        correct = sum(rollout.reward == 1.0 for rollout in first)
        assert decision.difficulty.rate == Fraction(correct, 4)
        assert len(decision.group.rollouts) == 4 + extra_rollouts(correct, 4, 16, "equal")
        totals[len(decision.group.rollouts)] += 1
    assert set(totals) == {4, 6, 12} or set(totals) == {4, 6, 10}


@pytest.mark.parametrize("prefix", ["april-", "april2-"])
def test_carrying_on_leaves_difficulty_and_allotment_as_they_are(prefix: str) -> None:
    """Whatever finishes first: the same problems show the same difficulty and get the same rollouts."""
    plain, carried = (
        {d.group.problem.seed: (d.difficulty, d.group.rewards) for p, _ in play(s, 15) for d in p.decisions}
        for s in (COMPOSITIONS["dars-et"], COMPOSITIONS[f"{prefix}dars-et"])
    )
    common = plain.keys() & carried.keys()
    assert len(common) > 20
    assert all(plain[seed] == carried[seed] for seed in common)


def test_a_token_budget_bounds_the_rounds_tokens() -> None:
    free, budgeted = (
        [phase for phase, _ in play(build_strategy(DarsSettings(max_rollouts=64, token_budget=budget)), 12)]
        for budget in (None, 1500)
    )
    assert max(phase.effort.tokens for phase in free) > 2000
    # Costs are estimated by the mean length so far.
    assert max(phase.effort.tokens for phase in budgeted) < 1500 * 1.25
    assert all(len(group.rollouts) >= 8 for phase in budgeted for group in phase.groups)


def test_dynamic_sampling_replaces_groups_up_to_its_limit() -> None:
    phases = [phase for phase, _ in play(build_strategy(BRORL), rounds=20)]
    for phase in phases:
        decided = Counter(decision.admission.decision for decision in phase.decisions)
        assert decided[GroupDecision.TRAIN] + decided[GroupDecision.DROP] == 4
        assert decided[GroupDecision.REPLACE] <= 4
        assert not decided[GroupDecision.DROP] or decided[GroupDecision.REPLACE] == 4
        assert phase.effort.opened == len(phase.decisions)
    assert sum(len(phase.admitted) for phase in phases) > 60


def test_a_task_that_runs_out_ends_the_round_with_what_there_is() -> None:
    def few(first: int, count: int) -> list[Problem]:
        return draw_of(1)(first, count)[: max(0, 2 - first)]

    for name in NAMES:
        pool = OpenGroups(RUN_SEED)
        step = StepInfo(1, 0, wanted=4)
        phase = rollout_phase(SeededPolicy(), COMPOSITIONS[name], pool, few, score, step)
        assert len(phase.decisions) == 2 and conserved(pool) and not pool.groups


def test_idle_is_what_waits_for_the_longest() -> None:
    phase = play_round(SeededPolicy(), build_strategy(GRPO), OpenGroups(RUN_SEED), number=1)
    lengths = [len(rollout.token_ids) for group in phase.groups for rollout in group.rollouts]
    assert phase.effort.tokens == sum(lengths)
    assert phase.effort.idle_share == pytest.approx(1 - sum(lengths) / (16 * max(lengths)))


def test_a_round_that_samples_nothing_is_neither_idle_nor_stale() -> None:
    phase = RolloutPhase((), Effort(), Counter())
    assert phase.effort.idle_share == phase.stale_share == 0.0


def test_a_round_for_which_enough_groups_wait_samples_nothing() -> None:
    pool = OpenGroups(RUN_SEED)
    for index in range(2):
        pool.open(open_group([1.0, 0.0], index=index))
    step = StepInfo(4, policy_version=2, wanted=2)
    phase = rollout_phase(SeededPolicy(), COMPOSITIONS["april-grpo"], pool, draw_of(4), score, step)
    assert (len(phase.decisions), phase.effort.calls, phase.effort.opened) == (2, 0, 0)


def test_figures_add_up() -> None:
    sampled = trained = 0
    for phase, pool in play(COMPOSITIONS["april2-dars-hw"], rounds=15):
        sampled += phase.effort.tokens
        trained += sum(len(r.token_ids) for group in phase.groups for r in group.rollouts)
        pooled = sum(len(r.token_ids) for group in pool.groups for r in group.rollouts)
        assert sampled == trained + pooled
        assert phase.effort.left == len(pool.partials)
        assert 0 <= phase.effort.idle_share < 1
        assert phase.ages.total() == sum(len(r.token_ids) for g in phase.admitted for r in g.rollouts)


def test_a_group_at_the_cap_is_finished() -> None:
    capped = AprilSettings(inner=GRPO.model_copy(update={"rollouts": 64}), oversample=1.5)
    decisions = [d for phase, _ in play(build_strategy(capped), rounds=4) for d in phase.decisions]
    finishes = Counter(rollout.finish for d in decisions for rollout in d.group.rollouts)
    assert finishes[Finish.LENGTH] > 10 and finishes[Finish.UNFINISHED] == 0
