"""Groups of hundreds of rollouts: honest ones are read whole, and none buys more time than it is worth."""

from __future__ import annotations

import pytest
from fakes import ALICE, BOB, MALLORY, body_of, offer, shared_group
from slow_work import Work

from swarm.admission.group_reader import PROMPT_ROLLOUTS
from swarm.admission.refusal import Reason
from swarm.admission.rollout_verifier import BODY_SECONDS, GROUP_SECONDS, MOST_EARNED
from swarm.admission.thread_work import ThreadWork
from swarm.admission.verdict import Outcome
from swarm.wire.body import SharedGroup

BUSY = 1.2e-4  # seconds for a rollout of 64 tokens: three times what an idle machine takes


def large(seed: int, count: int = 256, right: int = 4, claim: float = 1.0) -> SharedGroup:
    """Texts of 63 characters and an end, of which the last `right` ones are right."""
    wrong = [(f"{n:>60} no", 0.0) for n in range(count - right)]
    return shared_group(seed, *wrong, *((f"{n:>57} {seed + 1:>5}", claim) for n in range(right)))


def test_honest_groups_of_256_are_read_whole_and_pay_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a swarm in which some sample hundreds of rollouts a problem, a third of these was left out."""
    work = Work(monkeypatch, encoding=BUSY)
    results = work.verifier.verify(*offer(body_of([large(seed) for seed in range(8)], ALICE)))
    assert [(verdict.outcome, verdict.rollouts) for verdict, _ in results] == [(Outcome.ACCEPTED, 256)] * 8
    assert not any(verdict.left_out for verdict, _ in results)


@pytest.mark.parametrize(
    "sent",
    [
        large(7, right=0),
        large(7, claim=0.0),
        shared_group(7, *((f"it is {n}", float(n % 2)) for n in range(20, 276))),
    ],
    ids=["nothing to learn", "claims that say so", "claims that lie"],
)
def test_a_large_group_that_shows_no_lesson_has_a_group_s_time(
    monkeypatch: pytest.MonkeyPatch, sent: SharedGroup
) -> None:
    work = Work(monkeypatch, encoding=BUSY)
    [(verdict, _), *_] = work.verifier.verify(*offer(body_of([sent], MALLORY)))
    assert verdict.rollouts < 100 and set(verdict.left_out) == {Reason.WASTE}
    assert work.seconds < GROUP_SECONDS + PROMPT_ROLLOUTS * BUSY


def test_a_lesson_buys_no_more_than_its_rollouts_are_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch, encoding=10 * BUSY)
    [(verdict, _), *_] = work.verifier.verify(*offer(body_of([large(7, count=1000)], MALLORY)))
    assert verdict.left_out
    assert GROUP_SECONDS < work.seconds < GROUP_SECONDS + MOST_EARNED + PROMPT_ROLLOUTS * 10 * BUSY
    # Ten times as slow as is honest: what it is worth is spent long before the most that any may earn.
    assert work.seconds < 2 * GROUP_SECONDS + PROMPT_ROLLOUTS * 10 * BUSY


@pytest.mark.parametrize("part", ["encoding", "scoring"])
@pytest.mark.parametrize(("groups", "count"), [(2, 1000), (3, 75)])
def test_a_body_of_many_such_groups_has_no_more_time_than_a_body(
    groups: int, count: int, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each had a group's whole time again, whatever those before had left of its body's."""
    work = Work(monkeypatch, **{part: BUSY})
    sent = [large(seed, right=0, count=count) for seed in range(groups)]
    work.verifier.verify(*offer(body_of(sent, MALLORY)))
    assert work.seconds < BODY_SECONDS + 2 * PROMPT_ROLLOUTS * BUSY


@pytest.mark.parametrize(("copied", "bought"), [(10, True), (11, False)])
def test_a_lesson_of_copies_buys_nothing(monkeypatch: pytest.MonkeyPatch, copied: int, bought: bool) -> None:
    """At least half of a group is its sender's own, or nobody's time is given for it."""
    work, sent = Work(monkeypatch), large(7, count=20)
    texts = [rollout.text for rollout in sent.rollouts]
    work.verifier.guard.remember(ALICE, sent.task, sent.seed, texts[:copied])
    assert work.verifier._shows_a_lesson(work.task, MALLORY, sent) is bought


def test_one_group_of_many_texts_costs_no_more_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body was looked at between its groups only: one of 1,024 rollouts had all the time it wanted."""
    work = Work(monkeypatch, encoding=GROUP_SECONDS / 20)
    many = shared_group(7, ("it is 8", 1.0), *((f"it is {n}", 0.0) for n in range(20, 520)))
    [(verdict, accepted)] = work.verifier.verify(*offer(body_of([many], ALICE)))
    assert verdict.outcome is Outcome.ACCEPTED and accepted is not None
    assert PROMPT_ROLLOUTS < len(accepted.rollouts) < 30 > work.encoded
    assert verdict.left_out == (Reason.WASTE,) * (501 - len(accepted.rollouts))


def test_scoring_a_group_ends_in_time_and_a_small_one_is_always_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = Work(monkeypatch, scoring=GROUP_SECONDS)
    many = shared_group(7, ("it is 8", 1.0), *((f"it is {n}", 0.0) for n in range(20, 60)))
    few = shared_group(8, *((f"it is {n}", 0.0) for n in range(9, 9 + PROMPT_ROLLOUTS)))
    results = work.verifier.verify(*offer(body_of([many], ALICE)))
    results += work.verifier.verify(*offer(body_of([few], BOB)))
    assert [len(group.rollouts) for _, group in results if group] == [PROMPT_ROLLOUTS] * 2
    assert results[0][0].left_out == (Reason.WASTE,) * (41 - PROMPT_ROLLOUTS) and not results[1][0].left_out


class Clocks:
    """Work and time that tests set, and how often the work was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.work, self.time, self.asked = 100.0, 5.0, 0
        monkeypatch.setattr("swarm.admission.thread_work.thread_seconds", self._ask)
        monkeypatch.setattr("swarm.admission.thread_work.monotonic", lambda: self.time)

    def _ask(self) -> float:
        self.asked += 1
        return self.work


def test_work_is_asked_for_only_where_time_allows_that_much_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    work = ThreadWork()
    clocks.time += 0.25
    assert not work.exceeds(0.25) and clocks.asked == 1  # no more time than that has gone by
    clocks.time += 0.25
    clocks.work += 0.25  # in the other half of the time, another thread worked
    assert not work.exceeds(0.25) and clocks.asked == 2
    assert not work.exceeds(0.25) and clocks.asked == 2
    clocks.time += 0.125
    clocks.work += 0.125
    assert work.exceeds(0.25) and clocks.asked == 3
    assert not work.exceeds(0.5) and clocks.asked == 3


def test_work_counts_from_where_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    work = ThreadWork()
    clocks.time, clocks.work = clocks.time + 2 * BODY_SECONDS, clocks.work + BODY_SECONDS
    assert work.exceeds(BODY_SECONDS / 2) and not work.exceeds(BODY_SECONDS)
