"""The replay guard at its edges: who owns a text, how short a text may be to tell, and what a body leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

import pytest
from fakes import ALICE, BOB, MALLORY, ManualClock, body, group, offer, verifier

from swarm.admission.replay_guard import CAPACITY, TELLING_TEXT, ReplayGuard
from swarm.admission.verdict import Reason

TASK = "addition@1"


def texts(length: int, *letters: str) -> list[str]:
    return [letter * length for letter in letters]


def test_the_first_giver_owns_a_text_whoever_gives_it_later() -> None:
    guard = ReplayGuard()
    for peer in (ALICE, BOB, MALLORY, BOB):
        guard.remember(peer, TASK, 7, texts(40, "a", "b"))
    restored = ReplayGuard()
    restored.restore(json.loads(json.dumps(guard.snapshot())))
    for keeper in (guard, restored):
        copies = {peer: keeper.is_copy(peer, TASK, 7, texts(40, "a", "b")) for peer in (ALICE, BOB, MALLORY)}
        assert copies == {ALICE: False, BOB: True, MALLORY: True}


def test_a_peer_that_mixes_in_a_text_of_another_does_not_come_to_own_it() -> None:
    keeper = verifier()
    first, mixed = texts(40, "a", "b"), texts(40, "a", "c", "d", "e")
    outcomes = [
        keeper.verify(*offer(body([group(7, given)], peer)))[0][0].reason
        for peer, given in ((ALICE, first), (BOB, mixed))
    ]
    assert outcomes == [None, None]
    assert not keeper.guard.is_copy(ALICE, TASK, 7, first)
    assert keeper.guard.is_copy(BOB, TASK, 7, first)


@pytest.mark.parametrize(("length", "tells"), [(TELLING_TEXT, True), (TELLING_TEXT - 1, False)])
def test_texts_tell_from_thirty_two_characters_on(length: int, tells: bool) -> None:
    assert TELLING_TEXT == 32
    guard = ReplayGuard()
    guard.remember(ALICE, TASK, 7, texts(length, "a", "b"))
    # One of two is the copier's own: long texts are compared one by one, short ones only all together.
    assert guard.is_copy(BOB, TASK, 7, texts(length, "b", "c")) is tells
    assert guard.is_copy(BOB, TASK, 7, texts(length, "a", "b"))


def test_half_of_the_telling_texts_make_a_copy_and_fewer_do_not() -> None:
    guard = ReplayGuard()
    guard.remember(ALICE, TASK, 7, texts(40, "a", "b", "c"))
    assert guard.is_copy(BOB, TASK, 7, texts(40, "a", "x"))
    assert not guard.is_copy(BOB, TASK, 7, texts(40, "a", "x", "y"))
    assert not guard.is_copy(BOB, TASK, 8, texts(40, "a", "b"))  # of another problem


def test_a_body_that_does_not_decode_is_remembered_so_that_it_is_not_fetched_again() -> None:
    keeper = verifier()
    announcement, wire = offer(body([group(7)], ALICE))
    broken = wire[:-1] + bytes([wire[-1] ^ 1])
    announcement = replace(announcement, digest=sha256(broken).digest())
    [(verdict, _)] = keeper.verify(announcement, broken)
    assert verdict.reason is Reason.DECODE
    assert keeper.guard.knows_body(announcement.digest)


def test_a_body_that_is_not_the_announced_one_is_not_remembered() -> None:
    keeper = verifier()
    announcement, wire = offer(body([group(7)], ALICE))
    [(verdict, _)] = keeper.verify(announcement, wire[:-1] + bytes([wire[-1] ^ 1]))
    assert verdict.reason is Reason.DIGEST
    assert not keeper.guard.knows_body(announcement.digest)


@pytest.mark.parametrize(
    ("age", "reason"),
    [(600.0, None), (600.001, Reason.STALE), (-30.0, None), (-30.001, Reason.FUTURE)],
)
def test_the_age_of_a_body_is_bounded_to_the_millisecond(age: float, reason: Reason | None) -> None:
    clock = ManualClock()
    keeper = verifier(clock, max_age=600.0)
    announcement, wire = offer(body([group(7)], ALICE), clock() - age)
    assert keeper.is_fresh(announcement) is (reason is None)
    [(verdict, _)] = keeper.verify(announcement, wire)
    assert verdict.reason is reason


def test_a_full_memory_forgets_the_oldest_and_nothing_else() -> None:
    guard = ReplayGuard(capacity=3)
    assert CAPACITY > 3
    for number in range(4):
        guard.remember_body(bytes([number]))
    assert [guard.knows_body(bytes([number])) for number in range(4)] == [False, True, True, True]
