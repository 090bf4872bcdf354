"""Where admission decides the other way: each bound from both of its sides."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
from fakes import (
    ALICE,
    BOB,
    NODE,
    START,
    SWARM,
    Addition,
    ManualClock,
    announce,
    body,
    body_of,
    encode,
    group,
    offer,
    packed_group,
    shared_group,
    verifier,
)
from imagery import Brightness, grey, image_group
from slow_work import Work

from policies.rollout import Finish, Group, Problem, Rollout, Segment
from policies.tasks.task import HELD_OUT_SEED, MAX_UNJUDGED
from swarm.admission.group_reader import (
    PROMPT_ROLLOUTS,
    SECONDS_A_PIXEL,
    SECONDS_A_ROLLOUT,
    SECONDS_A_TOKEN,
    worth_of,
)
from swarm.admission.refusal import Reason
from swarm.admission.rollout_verifier import (
    BODY_SECONDS,
    CLAIM_TOLERANCE,
    GROUP_SECONDS,
    MAX_UNJUDGED_OF_BODY,
    RolloutVerifier,
)
from swarm.admission.verdict import Outcome
from swarm.limits import MAX_TASKS_ANNOUNCED
from swarm.wire.announcement import TaskSummary
from swarm.wire.body import SharedGroup

LONG = "counting on from seven gives exactly {}"  # long enough to tell a copy


def outcomes(work: Work, *groups: object) -> list[str]:
    return [verdict.label for verdict, _ in work.verifier.verify(*offer(body_of(groups, ALICE)))]


def test_what_came_of_a_body_goes_into_its_peer_s_record_and_habits() -> None:
    keeper = verifier()
    keeper.verify(*offer(body([group(7)], ALICE)))
    assert ALICE in str(keeper.records.snapshot())
    [(peer, task, _)] = keeper.habits.snapshot()["peers"]
    assert (peer, task) == (ALICE, "addition@1")


def test_no_collection_of_all_garbage_falls_into_the_reading_of_a_body() -> None:
    """One of 0.2 s did, and two good groups of an honest peer were called a waste of time."""
    during: list[bool] = []

    class Watching(Addition):
        def score(self, problem: Problem, completion: str) -> float | None:
            during.append(gc.isenabled())
            return super().score(problem, completion)

    keeper = RolloutVerifier(SWARM, NODE, {Addition.name: Watching()}, encode, ManualClock())
    keeper.verify(*offer(body([group(7)], ALICE)))
    assert during and not any(during) and gc.isenabled()


def test_a_text_of_as_many_characters_as_may_be_is_read_and_one_more_is_not() -> None:
    sent = body_of([shared_group(7, ("x" * 98 + " 8", 1.0), ("x" * 100, 0.0), ("x" * 101, 0.0))], ALICE)
    [(verdict, _)] = verifier(max_characters=100).verify(*offer(sent))
    assert (verdict.rollouts, verdict.left_out) == (2, (Reason.LENGTH,))


def test_a_problem_is_held_out_from_its_first_seed_on() -> None:
    for seed, reason in ((HELD_OUT_SEED - 1, None), (HELD_OUT_SEED, Reason.HELD_OUT)):
        [(verdict, _)] = verifier().verify(*offer(body([group(seed)], ALICE)))
        assert verdict.reason is reason


def test_another_fingerprint_than_announced_is_refused() -> None:
    announcement, wire = offer(body([group(7)], ALICE))
    other = replace(announcement, summary=replace(announcement.summary, fingerprint="other"))
    [(verdict, _)] = verifier().verify(other, wire)
    assert verdict.reason is Reason.SUMMARY


def test_a_claim_may_differ_by_rounding() -> None:
    for off, mismatches in ((CLAIM_TOLERANCE / 2, 0), (2 * CLAIM_TOLERANCE, 1)):
        [(verdict, _)] = verifier().verify(
            *offer(body_of([shared_group(7, ("it is 8", 1.0 - off), ("no", 0.0))], ALICE))
        )
        assert verdict.claim_mismatches == mismatches


def test_what_this_node_published_is_known_when_a_peer_sends_it() -> None:
    keeper, own = verifier(), group(7, [LONG.format(8), LONG.format(9)])
    keeper.remember_own([packed_group(own)])
    [(verdict, _)] = keeper.verify(*offer(body([own], BOB)))
    assert (verdict.outcome, verdict.known) == (Outcome.KNOWN, 2)
    assert keeper.guard.is_replay(NODE, own.problem.task, 7)


@pytest.mark.parametrize(("new", "outcome"), [(1, Outcome.KNOWN), (2, Outcome.ACCEPTED)])
def test_a_copy_with_two_texts_of_its_own_counts_for_those(new: int, outcome: Outcome) -> None:
    keeper, copied = verifier(), [LONG.format(n) for n in (8, 9, 10)]
    keeper.verify(*offer(body([group(7, copied)], ALICE)))
    own = ["a text that is nobody else's gives 8", "a text that is nobody else's says no"][:new]
    [(verdict, taken)] = keeper.verify(*offer(body([group(7, [*copied, *own])], BOB)))
    assert (verdict.outcome, verdict.known) == (outcome, 3)
    assert (taken is not None) is (outcome is Outcome.ACCEPTED)


def test_a_body_is_of_use_while_one_of_its_tasks_is() -> None:
    keeper = verifier(unsupported_tasks=frozenset({"digits"}))
    sent = announce(body([group(7)], ALICE), b"x")

    def of(*names: str) -> bool:
        tasks = tuple(TaskSummary(name, 8, 0.5) for name in names)
        return keeper.usable(replace(sent, summary=replace(sent.summary, tasks=tasks)))

    assert of("addition@1") and of("digits@1", "addition@1") and not of("digits@1")
    drawn = [f"digits@{number}" for number in range(MAX_TASKS_ANNOUNCED)]
    assert of(*drawn) and not of(*drawn[1:]), "of as many tasks as are named, others may have gone unnamed"


def test_rollouts_without_a_verdict_end_a_body_at_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [(f"{n} slow", 1.0) for n in range(MAX_UNJUDGED_OF_BODY - 1)]
    mixed = shared_group(2, ("slow", 1.0), ("it is 3", 1.0), ("no", 0.0))
    good = [shared_group(seed, (f"it is {seed + 1}", 1.0), ("no", 0.0)) for seed in (3, 4)]
    below = outcomes(Work(monkeypatch), shared_group(1, *slow), good[0], good[1])
    assert below == ["unusable", "accepted", "accepted"]
    at = outcomes(Work(monkeypatch), shared_group(1, *slow), mixed, *good)
    assert at == ["unusable", "accepted", "unusable"]


def test_of_a_large_group_without_a_verdict_every_rollout_is_counted() -> None:
    sent = body_of([shared_group(7, *((f"{n} slow", 1.0) for n in range(20)))], ALICE)
    [(verdict, _), *_] = verifier().verify(*offer(sent))
    assert (verdict.no_verdict, verdict.left_out) == (20, ())


def test_rollouts_behind_many_without_a_verdict_have_none_either() -> None:
    slow = [(f"{n} slow", 1.0) for n in range(MAX_UNJUDGED + 3)]
    sent = body_of([shared_group(7, ("it is 8", 1.0), ("no", 0.0), *slow)], ALICE)
    [(verdict, _)] = verifier().verify(*offer(sent))
    assert (verdict.rollouts, verdict.no_verdict, verdict.left_out) == (2, MAX_UNJUDGED + 3, ())


def test_time_without_a_verdict_is_held_against_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch, scoring=BODY_SECONDS)
    slow = shared_group(1, ("slow", 1.0), ("very slow", 1.0))
    assert outcomes(work, slow, shared_group(2, ("it is 3", 1.0), ("no", 0.0))) == ["unusable", "accepted"]


def test_a_body_may_cost_all_of_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch, encoding=BODY_SECONDS / 2)
    alike = [shared_group(seed, ("no", 0.0), ("no!", 0.0)) for seed in range(5)]
    assert outcomes(work, *alike) == ["set_aside", "set_aside", "refused_waste"]


@pytest.mark.parametrize(
    ("share", "good", "looked_at", "last"),
    [(2, 1, 2, "unusable"), (2, 0, 2, "refused_waste"), (4, 1, 3, "unusable"), (8, 1, 5, "refused_waste")],
)
def test_a_slow_body_is_held_against_its_peer_where_less_than_a_quarter_was_good(
    monkeypatch: pytest.MonkeyPatch, share: int, good: int, looked_at: int, last: str
) -> None:
    work = Work(monkeypatch, encoding=BODY_SECONDS / share)
    groups = [shared_group(n, ("no", 0.0), (f"it is {n + 1}" if n < good else "no!", 0.0)) for n in range(9)]
    passed = [*["accepted"] * good, *["set_aside"] * (looked_at - good)]
    assert outcomes(work, *groups) == [*passed, last]


def test_eight_rollouts_are_read_and_judged_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for slow in ({"encoding": 2 * GROUP_SECONDS}, {"scoring": 3 * GROUP_SECONDS}):
        for count, left_out in ((PROMPT_ROLLOUTS, ()), (PROMPT_ROLLOUTS + 1, (Reason.WASTE,))):
            work = Work(monkeypatch, **slow)
            sent = shared_group(7, ("it is 8", 0.0), *((f"no {n}", 0.0) for n in range(1, count)))
            [(verdict, _)] = work.verifier.verify(*offer(body_of([sent], ALICE)))
            assert (verdict.rollouts, verdict.left_out) == (PROMPT_ROLLOUTS, left_out)
            assert work.encoded == (PROMPT_ROLLOUTS if "encoding" in slow else count)


def test_a_group_of_nine_can_show_a_lesson_and_one_of_eight_need_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, shown in ((PROMPT_ROLLOUTS, False), (PROMPT_ROLLOUTS + 1, True)):
        work = Work(monkeypatch)
        sent = shared_group(7, ("it is 8", 1.0), *((f"no {n}", 0.0) for n in range(1, count)))
        assert work.verifier._shows_a_lesson(work.task, ALICE, sent) is shown
        assert work.encoded == (2 if shown else 0)


def test_what_a_rollout_is_worth() -> None:
    text = Rollout("abc", (Segment(0, (1, 2, 3)),), Finish.STOP)
    assert worth_of(text) == pytest.approx(SECONDS_A_ROLLOUT + 3 * SECONDS_A_TOKEN)
    image = Rollout("", (), Finish.STOP, image=grey(100))
    assert worth_of(image) == pytest.approx(SECONDS_A_ROLLOUT + 64 * SECONDS_A_PIXEL)


def test_scoring_has_as_much_time_again_as_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch, scoring=GROUP_SECONDS / 10)
    sent = shared_group(7, *((f"no {n}", 0.0) for n in range(60)))
    [(verdict, _), *_] = work.verifier.verify(*offer(body_of([sent], ALICE)))
    assert 20 <= verdict.rollouts <= 22


def test_extremes_that_cannot_be_read_show_no_lesson(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch)
    sent = shared_group(7, ("<control>", 1.0), *((f"no {n}", 0.0) for n in range(PROMPT_ROLLOUTS)))
    assert not work.verifier._shows_a_lesson(work.task, ALICE, sent)


def test_a_body_may_be_as_large_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    announcement, wire = offer(body([group(7)], ALICE))
    for limit, reason in ((len(wire), None), (len(wire) - 1, Reason.SIZE)):
        monkeypatch.setattr("swarm.admission.rollout_verifier.MAX_BODY", limit)
        [(verdict, _)] = verifier().verify(announcement, wire)
        assert verdict.reason is reason


def test_images_may_open_to_as_many_bytes_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [image_group(seed, [grey(10 + seed), grey(200 + seed)]) for seed in range(2)]
    task = Brightness()
    for limit, reason in ((4 * 3 * 64, None), (4 * 3 * 64 - 1, Reason.IMAGE)):
        monkeypatch.setattr("swarm.admission.rollout_verifier.MAX_BODY_PIXELS", limit)
        keeper = RolloutVerifier(SWARM, NODE, {task.name: task}, encode, ManualClock())
        (first, _), (second, _) = keeper.verify(*offer(body(groups, ALICE)))
        assert (first.reason, second.reason) == (None, reason)


def test_a_late_body_says_how_late_it_is() -> None:
    [(verdict, _)] = verifier(max_age=600.0).verify(*offer(body([group(7)], ALICE), START - 700))
    assert verdict.detail == "announced 700 s ago, maximum 600 s"


def test_a_task_that_fails_to_make_its_problem_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Addition):
        def problem(self, seed: int) -> Problem:
            raise RecursionError(seed)

    keeper = RolloutVerifier(SWARM, NODE, {Addition.name: Broken()}, encode, ManualClock())
    [(verdict, _)] = keeper.verify(*offer(body([group(7)], ALICE)))
    assert verdict.reason is Reason.FAULT and "RecursionError" in caplog.text


def test_an_image_travels_without_a_text_and_never_as_one() -> None:
    task = Brightness()
    keeper = RolloutVerifier(SWARM, NODE, {task.name: task}, encode, ManualClock())
    whole = share_of(image_group(7, [grey(10), grey(100), grey(200)]))
    image, *others = whole.rollouts
    for wrong in (replace(image, text="and a text"), replace(image, text="a text", image=b"")):
        sent = replace(whole, seed=whole.seed + len(wrong.image), rollouts=(wrong, *others))
        [(verdict, _)] = keeper.verify(*offer(body_of([sent], ALICE)))
        assert (verdict.rollouts, verdict.left_out) == (2, (Reason.MEDIUM,))


def share_of(own: Group) -> SharedGroup:
    return packed_group(own).shared()
