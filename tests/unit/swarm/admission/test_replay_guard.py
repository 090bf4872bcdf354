"""The replay guard at its edges: who owns a text, how short a text may be to tell, and what a body leaves behind."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from hashlib import sha256

import pytest
from fakes import ALICE, BOB, MALLORY, ManualClock, body, group, offer, verifier
from hypothesis import given
from hypothesis import strategies as st

from swarm.admission.refusal import Reason
from swarm.admission.replay_guard import (
    CAPACITY,
    MANY_KEYS,
    PEERS_THAT_FILL,
    SKETCH,
    TELLING_TEXT,
    TELLING_VARIETY,
    ReplayGuard,
    _Memory,
)

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
        known = {peer: keeper.known(peer, TASK, 7, texts(40, "a", "b")) for peer in (ALICE, BOB, MALLORY)}
        assert known == {ALICE: [False, False], BOB: [True, True], MALLORY: [True, True]}


def test_a_peer_that_mixes_in_a_text_of_another_does_not_come_to_own_it() -> None:
    keeper = verifier()
    first, mixed = texts(40, "a", "b"), texts(40, "a", "c", "d", "e")
    known = [
        keeper.verify(*offer(body([group(7, given)], peer)))[0][0].known
        for peer, given in ((ALICE, first), (BOB, mixed))
    ]
    assert known == [0, 1]
    assert keeper.guard.known(ALICE, TASK, 7, first) == [False, False]
    assert keeper.guard.known(BOB, TASK, 7, first) == [True, True]


@pytest.mark.parametrize(("length", "tells"), [(TELLING_TEXT, True), (TELLING_TEXT - 1, False)])
def test_texts_tell_from_thirty_two_characters_on(length: int, tells: bool) -> None:
    assert TELLING_TEXT == 32
    guard = ReplayGuard()
    guard.remember(ALICE, TASK, 7, texts(length, "a", "b"))
    # One of two is the copier's own: long texts are compared one by one, short ones only all together.
    assert guard.known(BOB, TASK, 7, texts(length, "b", "c")) == [tells, False]
    assert guard.known(BOB, TASK, 7, texts(length, "a", "b")) == [True, True]
    assert guard.known(BOB, TASK, 8, texts(length, "a", "b")) == [False, False]  # of another problem


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
        guard.remember_body(bytes([number]), str(number))
    assert [guard.knows_body(bytes([number])) for number in range(4)] == [False, True, True, True]


def test_one_peer_fills_a_sixteenth_of_a_memory_at_most() -> None:
    guard = ReplayGuard(capacity=32)
    guard.remember_body(b"bob's", BOB)
    for number in range(100):
        guard.remember_body(bytes([number]), MALLORY)
    assert guard.knows_body(b"bob's")
    assert [n for n in range(100) if guard.knows_body(bytes([n]))] == [98, 99]


def test_a_memory_of_before_is_read() -> None:
    guard = ReplayGuard()
    guard.restore({"bodies": [b"x".hex()], "groups": [], "texts": []})  # type: ignore[list-item]
    assert guard.knows_body(b"x")


def test_many_peers_that_fill_a_memory_flush_nobody_who_gave_less() -> None:
    """Twenty names at their quotas once made a node take 32 old groups again."""
    guard = ReplayGuard()
    for seed in range(32):
        guard.remember(ALICE, TASK, seed, texts(40, "a", "b"))
    quota = CAPACITY // PEERS_THAT_FILL
    for place in range(PEERS_THAT_FILL + 4):
        for seed in range(quota):
            guard.remember(f"mallory-{place}", TASK, seed, texts(40, "c", "d"))
    assert all(guard.is_replay(ALICE, TASK, seed) for seed in range(32))
    assert all(known for seed in range(32) for known in guard.known(BOB, TASK, seed, texts(40, "a", "b")))
    assert len(guard.snapshot()["groups"]) == CAPACITY


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 60)), max_size=300))
def test_a_full_memory_takes_from_whoever_has_most(kept: list[tuple[int, int]]) -> None:
    memory = _Memory(capacity=40)
    memory._quota = 30
    for owner, key in kept:
        before = memory.items()
        memory.keep(bytes([owner, key]), bytes([owner]))
        lost = [item for item in before if item not in memory.items()]
        counts = Counter(who for _, who in before)
        counts[bytes([owner]).hex()] += (bytes([owner, key]).hex(), bytes([owner]).hex()) not in before
        for key_lost, who in lost:
            if max(counts.values()) < MANY_KEYS:
                assert (key_lost, who) == before[0], "the oldest of all"
            else:
                assert counts[who] == max(counts.values()), "the largest, or the one beyond its quota"
                assert key_lost == next(k for k, w in before if w == who), "its oldest"
        assert len(memory.items()) <= 40 and max(Counter(w for _, w in memory.items()).values()) <= 30


def test_what_is_restored_takes_the_place_of_what_was_there() -> None:
    old, new = ReplayGuard(), ReplayGuard()
    old.remember_body(b"old", "alice")
    new.remember_body(b"new", "alice")
    old.restore(new.snapshot())
    assert old.knows_body(b"new") and not old.knows_body(b"old")


def test_owners_that_are_forgotten_leave_nothing_behind() -> None:
    memory = _Memory(8 * PEERS_THAT_FILL)
    for number in range(600):
        memory.keep(b"key %d" % number, b"owner %d" % (number // (1 + number // 100)))
        sizes = Counter(len(keys) for keys in memory._keys.values() if len(keys) > 1)
        assert {size: len(owners) for size, owners in memory._of_size.items()} == sizes
    assert len(memory.items()) == 8 * PEERS_THAT_FILL


@pytest.mark.parametrize("keys", [MANY_KEYS - 1, MANY_KEYS])
def test_who_has_many_keys_makes_room_and_who_has_fewer_does_not(keys: int) -> None:
    memory = _Memory(MANY_KEYS * PEERS_THAT_FILL)
    for number in range(MANY_KEYS * PEERS_THAT_FILL - keys):
        memory.keep(b"single %d" % number, b"owner %d" % number)
    for number in range(keys):
        memory.keep(b"many %d" % number, b"greedy")
    memory.keep(b"one more", b"newcomer")
    gone = b"many 0" if keys == MANY_KEYS else b"single 0"
    assert memory.owner(gone) is None
    assert sum(memory.owner(key) is None for key in (b"many 0", b"single 0")) == 1


@pytest.mark.parametrize(
    ("texts", "told", "whole"),
    [(SKETCH, SKETCH // 2, True), (SKETCH, SKETCH // 2 - 1, False), (SKETCH - 1, 40, False)],
)
def test_a_large_group_is_a_copy_as_a_whole_where_half_of_what_is_kept_of_it_is(
    texts: int, told: int, whole: bool
) -> None:
    guard = ReplayGuard()
    sent = [f"a text that is long enough to tell {number}" for number in range(texts)]
    guard.remember("alice", "sort@1", 7, sent[:told])
    assert guard.known("bob", "sort@1", 7, sent) == [whole or place < told for place in range(texts)]


@pytest.mark.parametrize(("distinct", "known"), [(TELLING_VARIETY - 1, False), (TELLING_VARIETY, True)])
def test_short_answers_in_another_order_are_a_copy_where_they_are_many(distinct: int, known: bool) -> None:
    guard, sent = ReplayGuard(), [str(40 + number) for number in range(distinct)]
    guard.remember("alice", "sort@1", 7, sent)
    assert guard.known("bob", "sort@1", 7, sent[::-1]) == [known] * distinct


def test_one_copied_text_that_tells_makes_no_copy_of_a_short_one_beside_it() -> None:
    guard, copied = ReplayGuard(), "x" * TELLING_TEXT
    guard.remember("alice", "sort@1", 7, [copied, "41"])
    assert guard.known("bob", "sort@1", 7, [copied, "42"]) == [True, False]
