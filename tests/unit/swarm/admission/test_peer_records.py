"""What a node makes of its own experience with each peer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from swarm.admission.peer_records import (
    BLAMELESS,
    HALF_LIFE,
    LEAST_MEASURED,
    MAX_PEERS,
    REMEMBERED,
    PeerRecord,
    PeerRecords,
    Standing,
)
from swarm.admission.refusal import Reason
from swarm.admission.verdict import Outcome, Verdict

BOB, EVE = "bob", "eve"
HOST = "203.0.113.7"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _passed(outcome: Outcome = Outcome.ACCEPTED, count: int = 3) -> list[Verdict]:
    return [Verdict(outcome, BOB)] * count


def _refused(reason: Reason, count: int = 1) -> list[Verdict]:
    return [Verdict.refused(BOB, reason, "")] * count


def test_good_groups_make_a_peer_known_until_they_fade() -> None:
    clock = Clock()
    records = PeerRecords(clock)
    assert records.standing(BOB) is Standing.NEWCOMER
    records.note_delivered(BOB, HOST, _passed())
    assert records.standing(BOB) is Standing.KNOWN
    assert records.record(BOB).host == HOST
    clock.now += HALF_LIFE
    assert records.record(BOB).good == pytest.approx(1.5)
    assert records.standing(BOB) is Standing.NEWCOMER


def test_a_record_fades_however_often_it_is_asked_for() -> None:
    clock = Clock()
    records = PeerRecords(clock)
    records.note_delivered(BOB, HOST, _passed(count=4))
    for _ in range(4 * int(HALF_LIFE)):
        clock.now += 0.25
        records.record(BOB)
        records.note_trained(BOB, masked=False)  # keeps what it found
    assert records.record(BOB).good == pytest.approx(2.0, rel=1e-3)


def test_two_groups_make_a_peer_known_for_some_minutes_and_one_does_not() -> None:
    """A body of two was forgotten in the moment it came, as time fades what it brings."""
    clock = Clock()
    records = PeerRecords(clock)
    records.note_delivered(EVE, HOST, _passed(count=1))
    records.note_delivered(BOB, HOST, _passed(count=2))
    clock.now += 300.0
    assert (records.standing(BOB), records.standing(EVE)) == (Standing.KNOWN, Standing.NEWCOMER)


def test_groups_without_a_signal_make_nobody_known() -> None:
    records = PeerRecords(Clock())
    records.note_delivered(BOB, HOST, _passed(Outcome.SET_ASIDE, 50))
    assert records.standing(BOB) is Standing.NEWCOMER


@pytest.mark.parametrize("reason", sorted(set(Reason) - BLAMELESS))
def test_a_peer_that_sends_what_no_honest_one_does_rests_and_comes_back(reason: Reason) -> None:
    clock = Clock()
    records = PeerRecords(clock)
    for _ in range(4):
        assert records.standing(BOB) is not Standing.RESTING
        records.note_delivered(BOB, HOST, _refused(reason))
    assert records.standing(BOB) is Standing.RESTING
    assert records.select([BOB, BOB], 2, np.random.default_rng(0)) == []
    clock.now += HALF_LIFE
    assert records.standing(BOB) is Standing.NEWCOMER


@pytest.mark.parametrize("reason", sorted(BLAMELESS))
def test_nobody_rests_for_what_honest_peers_do_too_unless_it_is_all_they_do(reason: Reason) -> None:
    records = PeerRecords(Clock())
    records.note_delivered(BOB, HOST, _refused(reason, 31))
    assert records.standing(BOB) is Standing.NEWCOMER
    records.note_delivered(BOB, HOST, _refused(reason))
    assert records.standing(BOB) is Standing.RESTING
    records.note_delivered(BOB, HOST, _passed(Outcome.SET_ASIDE, 4))
    assert records.standing(BOB) is Standing.NEWCOMER


def test_a_good_peer_may_fail_now_and_then() -> None:
    records = PeerRecords(Clock())
    records.note_delivered(BOB, HOST, _passed(count=10))
    for _ in range(20):
        records.note_undelivered(BOB)
    assert records.standing(BOB) is Standing.KNOWN
    records.note_undelivered(BOB)
    assert records.standing(BOB) is Standing.RESTING


def test_the_owner_has_the_last_word() -> None:
    records = PeerRecords(Clock(), allowed=[BOB], denied=[EVE])
    records.note_delivered(BOB, HOST, _refused(Reason.DECODE, 50))
    records.note_delivered(EVE, HOST, _passed(count=50))
    assert records.standing(BOB) is Standing.KNOWN
    assert records.standing(EVE) is Standing.RESTING


def test_records_survive_a_restart_through_json() -> None:
    records, restored = PeerRecords(Clock()), PeerRecords(Clock())
    records.note_delivered(BOB, HOST, _passed() + _refused(Reason.STALE))
    restored.restore(json.loads(json.dumps(records.snapshot())))
    assert restored.record(BOB) == records.record(BOB) != PeerRecord()


def test_the_number_of_records_is_bounded_and_the_longest_silent_goes_first() -> None:
    clock = Clock()
    records = PeerRecords(clock)
    records.note_delivered(BOB, HOST, _passed())
    for number in range(MAX_PEERS):
        clock.now += 0.001
        records.note_undelivered(str(number))
    assert len(records.peers()) == MAX_PEERS
    assert BOB not in records.peers()


def test_habits_are_counted() -> None:
    records = PeerRecords(Clock())
    for count in (1, 2, 3):
        records.note_trained(BOB, masked=True)
        records.note_trained(BOB, masked=False)
        assert (records.record(BOB).habits, records.record(BOB).trained) == (count, 2 * count)
    assert records.drain_touched() == {BOB} and records.record(EVE) == PeerRecord(at=1000.0)


@pytest.mark.parametrize(
    ("masked", "whole", "habit"), [(2, 0, False), (3, 0, True), (3, 3, True), (3, 4, False), (40, 41, False)]
)
def test_a_peer_has_a_habit_where_most_of_its_groups_do(masked: int, whole: int, habit: bool) -> None:
    """An honest policy that breaks down repeats itself for some rounds: left out, and nobody is blamed."""
    records = PeerRecords(Clock())
    for number in range(masked + whole):
        records.note_trained(BOB, masked=number < masked)
    assert records.record(BOB).has_a_habit is habit
    assert ("with a habit" in records.reason(BOB)) is habit


def test_usefulness_is_the_mean_of_enough_groups_with_its_error_and_does_not_fade() -> None:
    clock = Clock()
    records, generator = PeerRecords(clock), np.random.default_rng(0)
    cosines = generator.normal(0.1, 0.2, REMEMBERED)
    for count, cosine in enumerate(cosines, 1):
        records.note_usefulness(BOB, cosine)
        clock.now += HALF_LIFE
        record = records.record(BOB)
        assert record.measured == count
        if count < LEAST_MEASURED:
            assert record.usefulness is None and record.usefulness_error is None
            continue
        assert record.usefulness == pytest.approx(np.mean(cosines[:count]))
        error = np.std(cosines[:count], ddof=1) / count**0.5
        assert record.usefulness_error == pytest.approx(error)


def test_a_peer_that_has_changed_shows_it() -> None:
    records = PeerRecords(Clock())
    for cosine in [0.3] * 500 + [-0.3] * 2 * REMEMBERED:
        records.note_usefulness(BOB, cosine)
    useful = records.record(BOB).usefulness
    assert useful is not None and useful < -0.2


def test_what_an_older_checkpoint_calls_usefulness_is_begun_anew() -> None:
    """It was another measure."""
    records = PeerRecords(Clock())
    records.restore({BOB: {"good": 3.0, "at": 1000.0, "usefulness": 0.9, "measured": 7.5}})
    assert records.record(BOB) == PeerRecord(good=3.0, at=1000.0)


def test_places_are_held_for_whoever_delivered_of_late_with_a_record() -> None:
    """Alice has all solved, so that nothing of hers has a signal; carol is gone; eve sent one group."""
    clock = Clock()
    records = PeerRecords(clock)
    records.note_delivered("carol", "192.0.2.3", _passed(count=9))
    clock.now += 700.0
    records.note_delivered("alice", "192.0.2.1", _passed(Outcome.SET_ASIDE, 9))
    records.note_delivered(BOB, HOST, _passed(count=9))
    records.note_delivered(EVE, "192.0.2.2", _passed(count=1))

    def given(hold: float | None) -> int:
        """Of the twentieth update, when all that was saved up is spent."""
        generator = np.random.default_rng(0)
        return [len(records.select([BOB] * 9, 4, generator, hold=hold)) for _ in range(20)][-1]

    assert (given(None), given(600.0), given(2000.0)) == (4, 2, 1)
    assert len(records._sources(600.0)) == 2 and len(records._sources(2000.0)) == 3
    records.trust([], ["alice"])
    assert given(600.0) == 4  # nothing is held for whom its owner denies


def test_a_reason_names_what_counts_and_the_owner_s_word_before_all() -> None:
    clock = Clock()
    records = PeerRecords(clock, allowed={"friend"}, denied={EVE})
    records.note_delivered(
        BOB, HOST, [*_passed(count=2), *_passed(Outcome.SET_ASIDE, 1), *_refused(Reason.STALE)]
    )
    records.note_trained(BOB, masked=True)
    assert records.reason(BOB) == "groups to learn from 2.0, others 1.0, stale 1.0, in part left out 1.0"
    assert (records.reason("friend"), records.reason(EVE)) == ("its owner says allow", "its owner says deny")
    clock.now += 4.1 * HALF_LIFE  # 2 fade to 0.12, and 1 to 0.06
    assert records.reason(BOB).startswith("groups to learn from 0.1, others 0.1, ")
    clock.now += HALF_LIFE
    assert records.reason(BOB) == "groups to learn from 0.1"
