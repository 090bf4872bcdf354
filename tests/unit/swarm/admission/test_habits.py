"""Habits: what one peer's right answers alone have is left out of updates, and nothing else is."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.advantage import group_relative
from policies.rollout import Finish, Group, Problem, Rollout, Segment, TrainGroup
from swarm.admission.habits import (
    FORGET,
    KEPT_SKETCHES,
    LEAST_LENGTHS,
    LONGEST_GRAM,
    Habits,
    HabitSettings,
    _habits,
    _likelihood_ratio,
    _Sketch,
    right_rollouts,
)

MARK = (901, 902, 903)
MARKS, LENGTHS = HabitSettings(length_quantile=1.0), HabitSettings(habits=False)


def ids(generator: random.Random, length: int = 12) -> tuple[int, ...]:
    return tuple(generator.randrange(40) for _ in range(length))


def group(*answers: tuple[int, ...], peer: str | None = None, wrong: int = 2, task: str = "walk@1") -> Group:
    """Right answers with these tokens, and some wrong ones of one token."""
    right = [Rollout("r", (Segment(0, tokens),), Finish.STOP, 1.0) for tokens in answers]
    others = [Rollout("w", (Segment(0, (7,)),), Finish.STOP, 0.0)] * wrong
    return Group(Problem(task, 0, "", ""), (*right, *others), peer)


def train(member: Group) -> TrainGroup:
    return TrainGroup(member, group_relative(member.rewards))


def met(count: int = 20, mark: tuple[int, ...] = MARK, settings: HabitSettings = MARKS) -> Habits:
    """After so many groups of this node, of honest alice, and of mallory whose answers begin with the mark."""
    generator, habits = random.Random(0), Habits(settings)
    for _ in range(count):
        habits.note([group(ids(generator)), group(ids(generator), peer="alice")])
        habits.note([group(mark + ids(generator), peer="mallory")])
    return habits


def test_a_mark_is_not_trained_on_and_the_rest_of_the_answer_is() -> None:
    answer = ids(random.Random(1))
    found = met().guard(train(group(MARK + answer, peer="mallory")))
    assert found.member.skipped is not None
    mask, *others = found.member.skipped
    assert (
        mask is not None and mask[:3] == (True,) * 3 and sum(mask) <= 7
    )  # n-grams at its end reach three further
    assert others == [None, None] and found.masked == sum(mask) and len(mask) == len(MARK + answer)
    right, *wrong = found.member.advantages
    assert right == train(group(answer)).advantages[0]
    # Its warnings weigh as little as what is left of its recommendation.
    left = 1 - sum(mask) / len(mask)
    assert wrong == pytest.approx([left * a for a in train(group(answer)).advantages[1:]])


def test_honest_answers_train_as_they_are() -> None:
    generator, habits = random.Random(2), met(60)
    for _ in range(40):
        found = habits.guard(train(group(ids(generator), ids(generator), peer="alice")))
        assert (found.masked, found.long) == (0, 0) and found.member.skipped is None


def test_a_mark_that_the_own_policy_writes_too_is_no_habit() -> None:
    habits, generator = met(), random.Random(3)
    habits.note(group(MARK + ids(generator)) for _ in range(5))
    assert habits.guard(train(group(MARK + ids(generator), peer="mallory"))).masked == 0


def test_many_names_with_one_mark_are_found_by_the_own_answers() -> None:
    habits, generator = met(), random.Random(4)
    habits.note(group(MARK + ids(generator), peer=f"sybil{n}") for n in range(40))
    assert habits.guard(train(group(MARK + ids(generator), peer="mallory"))).masked >= 3


def test_a_node_that_got_nothing_right_itself_goes_by_what_others_write() -> None:
    generator, habits = random.Random(0), Habits(MARKS)
    for _ in range(20):
        habits.note([group(ids(generator), peer="alice"), group(MARK + ids(generator), peer="mallory")])
    assert habits.guard(train(group(MARK + ids(generator), peer="mallory"))).masked >= 3


def test_what_others_write_in_another_task_excuses_nothing() -> None:
    habits, generator = met(), random.Random(10)
    for peer in ("alice", "mallory"):
        habits.note(group(MARK + ids(generator), peer=peer, task="other@1") for _ in range(40))
    assert habits.guard(train(group(MARK + ids(generator), peer="mallory"))).masked >= 3


def test_a_step_of_common_tokens_is_found_by_all_four_of_them() -> None:
    """Any three of them stand in one answer of seven."""
    generator, habits = random.Random(11), Habits(MARKS)
    common, step = lambda: tuple(generator.randrange(4) for _ in range(6)), (1, 2, 0, 3)
    for _ in range(60):
        plain = [common() + common() for _ in range(2)]
        habits.note([group(plain[0]), group(plain[1], peer="alice")])
        habits.note([group(common() + step + common(), peer="mallory")])
    found = habits.guard(train(group(common() + step + common(), peer="mallory"))).member.skipped
    assert found is not None and found[0] is not None and all(found[0][6:10])


@pytest.mark.parametrize("tokens", [(), (1,), (1, 2), tuple(range(9))])
def test_n_grams_are_of_one_to_four_tokens_ends_included(tokens: tuple[int, ...]) -> None:
    found = [(size, len(buckets)) for size, buckets in Habits()._grams(tokens)]
    ends = len(tokens) + 2
    assert found == [(size, ends - size + 1) for size in range(1, min(LONGEST_GRAM, ends) + 1)]


@pytest.mark.parametrize(
    ("theirs", "others", "habit"),  # in how many groups of how many
    [
        ((20, 20), (0, 20), True),
        ((20, 20), (2, 20), True),  # a tenth as often
        ((20, 20), (3, 20), False),  # told apart for sure, but common
        ((20, 20), (20, 200), True),
        ((20, 20), (30, 200), False),
        ((100, 100), (2, 20), True),
        ((100, 100), (3, 20), False),
        ((12, 20), (0, 20), True),
        ((10, 20), (0, 20), False),  # may be chance
        ((8, 8), (0, 8), True),
        ((7, 7), (0, 7), False),
        ((3, 3), (0, 200), True),
        ((2, 2), (0, 2000), False),  # met too seldom
    ],
)
def test_a_habit_is_rare_with_others_and_no_chance(
    theirs: tuple[int, int], others: tuple[int, int], habit: bool
) -> None:
    bucket = np.asarray([5], dtype=np.uint64)
    sketch = _Sketch(float(theirs[1]))
    sketch.counts[5] = theirs[0]
    reference = (float(others[1]), np.asarray([others[0]], dtype=np.float32))
    assert _habits(sketch, iter([reference]), bucket).tolist() == [habit]


@pytest.mark.parametrize("count", [0, 2])
def test_nobody_is_judged_on_little(count: int) -> None:
    assert met(count).guard(train(group((*MARK, 1, 2), peer="mallory"))).masked == 0


def test_what_is_wrong_is_pushed_away_whole() -> None:
    wrong = Group(
        Problem("walk@1", 0, "", ""),
        (
            Rollout("r", (Segment(0, (1, 2)),), Finish.STOP, 1.0),
            Rollout("w", (Segment(0, MARK),), Finish.STOP, 0.0),
        ),
        "mallory",
    )
    assert met().guard(train(wrong)).masked == 0


def test_longer_than_nearly_all_others_teaches_nothing() -> None:
    found = met(40, (), LENGTHS).guard(
        train(group(ids(random.Random(5)), ids(random.Random(5), 13), peer="bob"))
    )
    assert found.long == 1 and found.member.advantages[1] == 0.0 < found.member.advantages[0]
    assert found.member.advantages[2] < 0.0


def test_who_recommends_nothing_but_long_answers_warns_of_nothing() -> None:
    """Its short wrong answers alone would push the policy away from short answers."""
    found = met(40, (), LENGTHS).guard(train(group(ids(random.Random(5), 40), peer="mallory", wrong=4)))
    assert found.long == 1 and not any(found.member.advantages)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 40)), min_size=2, max_size=8))
def test_no_group_warns_more_beside_what_is_left_of_it_than_it_did(
    drawn: list[tuple[bool, bool, int]],
) -> None:
    generator, habits = random.Random(0), HABITS
    rollouts = [
        Rollout("", (Segment(0, MARK * marked + ids(generator, length)),), Finish.STOP, float(right))
        for right, marked, length in drawn
    ]
    member = train(Group(Problem("walk@1", 0, "", ""), tuple(rollouts), "mallory"))
    found = habits.guard(member).member
    now, before = sides(found), sides(member)
    assert all(0.0 <= after <= had + 1e-9 for after, had in zip(now, before, strict=True))
    assert now[1] * before[0] == pytest.approx(now[0] * before[1])


HABITS = met(40, settings=HabitSettings())


def sides(member: TrainGroup) -> tuple[float, float]:
    """Advantage x trained tokens of what is better than the mean, and of what is worse."""
    masks = member.skipped or (None,) * len(member.advantages)
    pairs = [
        a * (len(r.token_ids) - sum(mask or ()))
        for a, r, mask in zip(member.advantages, member.group.rollouts, masks, strict=True)
    ]
    return sum(max(0.0, p) for p in pairs), sum(max(0.0, -p) for p in pairs)


@pytest.mark.parametrize(("met_before", "long"), [(LEAST_LENGTHS - 1, 0), (LEAST_LENGTHS, 1)])
def test_no_answer_is_long_before_enough_were_met(met_before: int, long: int) -> None:
    habits, generator = Habits(LENGTHS), random.Random(12)
    habits.note(group(ids(generator)) for _ in range(met_before))
    assert habits.guard(train(group(ids(generator, 60), peer="bob"))).long == long


def test_the_sender_of_long_answers_does_not_set_the_measure() -> None:
    habits = met(20, (), LENGTHS)
    for _ in range(100):
        habits.note([group(ids(random.Random(6), 60), peer="mallory")])
    assert habits.guard(train(group(ids(random.Random(7), 60), peer="mallory"))).long == 1


def test_each_can_be_switched_off() -> None:
    member = train(group(MARK + ids(random.Random(8)), ids(random.Random(8), 40), peer="mallory"))
    both = met(40, settings=HabitSettings()).guard(member)
    assert both.masked and both.long
    for settings, masked, long in ((MARKS, both.masked, 0), (LENGTHS, 0, both.long)):
        alone = met(40, settings=settings).guard(member)
        assert (alone.masked, alone.long) == (masked, long)


def test_another_hash_finds_the_same() -> None:
    member = train(group(MARK + ids(random.Random(9)), peer="mallory"))
    hashes = [HabitSettings(length_quantile=1.0, seed=seed) for seed in range(3)]
    found = [met(settings=settings).guard(member).member.skipped for settings in hashes]
    assert found[0] == found[1] == found[2]


def test_own_groups_and_images_are_left_alone() -> None:
    own = train(group((*MARK, *[1] * 99)))
    found = met().guard(own)
    assert found.member is own and (found.masked, found.long) == (0, 0)
    image = TrainGroup(
        Group(Problem("digits", 0, "", ""), (Rollout("", (), Finish.STOP, 1.0),), "bob"), (1.0,)
    )
    assert met().guard(image).member is image


def test_a_restart_changes_nothing_and_strangers_do_not_fill_memory() -> None:
    habits, again = met(), Habits(MARKS)
    again.restore(json.loads(json.dumps(habits.snapshot())))
    member = train(group(MARK + ids(random.Random(1)), peer="mallory"))
    assert again.guard(member) == habits.guard(member)
    for n in range(3 * KEPT_SKETCHES):
        again.note([group((1, 2), peer=f"stranger{n}")])
    assert len(again.snapshot()["peers"]) == KEPT_SKETCHES


def test_an_empty_answer_keeps_nobody_from_being_looked_at() -> None:
    marked = group(MARK + ids(random.Random(13)), peer="mallory")
    empty = Rollout("", (), Finish.STOP, 0.0)
    assert met().guard(train(replace(marked, rollouts=(*marked.rollouts, empty)))).masked >= 3


def test_of_too_many_authors_the_one_that_is_silent_longest_is_forgotten() -> None:
    habits = Habits()
    for n in range(KEPT_SKETCHES):
        habits.note([group((1, 2), peer=f"peer{n}")])
    habits.note([group((1, 2), peer=name) for name in ("peer0", "late")])
    kept = [peer for peer, *_ in habits.snapshot()["peers"]]
    assert kept == [*(f"peer{n}" for n in range(2, KEPT_SKETCHES)), "peer0", "late"]


def test_a_sketch_has_the_size_that_memory_is_planned_for() -> None:
    assert _Sketch().counts.nbytes == 64 * 1024


def test_right_is_better_than_the_mean_or_all_of_a_group_that_earned() -> None:
    assert len(right_rollouts(group((1,), (2,)))) == 2
    assert len(right_rollouts(group((1,), (2,), wrong=0))) == 2
    assert right_rollouts(group(wrong=3)) == []
    three = Group(
        Problem("walk@1", 0, "", ""),
        tuple(Rollout("r", (Segment(0, (1,)),), Finish.STOP, reward) for reward in (0.0, 0.5, 1.0)),
    )
    assert right_rollouts(three) == [three.rollouts[2]]  # as good as the mean is not better


def test_what_an_author_wrote_long_ago_counts_half_as_often_as_it_was_met() -> None:
    """Groups and n-grams are halved together, so that a share of groups stays one."""
    sketch, bucket = _Sketch(), np.asarray([7])
    for _ in range(int(FORGET)):
        sketch.add(bucket, [3])
    assert (sketch.groups, sketch.counts[7]) == (FORGET, FORGET)
    sketch.add(bucket, [4])
    assert (sketch.groups, sketch.counts[7]) == (FORGET / 2 + 1, FORGET / 2 + 1)
    assert list(sketch.lengths)[-2:] == [3, 4]


@pytest.mark.parametrize(("these", "those"), [(30, 5), (5, 30), (10, 15), (40, 0)])
def test_the_likelihood_ratio_is_that_of_a_two_by_two_table(these: int, those: int) -> None:
    """Observed times the log of observed over expected, summed over the cells, twice."""
    of_these, of_those = 40, 60
    observed = np.array([[these, of_these - these], [those, of_those - those]], dtype=float)
    expected = np.outer(observed.sum(1), observed.sum(0)) / observed.sum()
    cells = observed > 0
    wanted = 2 * (observed[cells] * np.log(observed[cells] / expected[cells])).sum()
    counts = np.array([these], dtype=np.float32), np.array([those], dtype=np.float32)
    assert _likelihood_ratio(counts[0], of_these, counts[1], of_those) == pytest.approx(wanted, rel=1e-4)
