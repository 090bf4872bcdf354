"""Fetches side by side: who is silent gives way, and what comes late is not lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from announcing import unsigned

from swarm.gossip.fetch_pool import FetchPool
from swarm.wire.announcement import Announcement
from swarm.wire.identity import Identity

OFFERS = [
    unsigned(Identity(bytes([n]) * 32).peer_id, addresses=(f"/ip4/203.0.{n}.7/tcp/4001",)) for n in range(12)
]
DEADLINE = 30.0  # seconds before a test gives up; none comes near it


class Town:
    """Publishers that answer at once, but for some that are silent until they are woken, or have nothing."""

    def __init__(self, silent: set[str], empty: set[str]) -> None:
        self.silent, self.empty = silent, empty
        self.wake = threading.Event()
        self.asked: list[str] = []
        self.taken: list[str] = []
        self.refused: set[str] = set()

    def fetch(self, announcement: Announcement) -> bytes | None:
        self.asked.append(announcement.peer)
        if announcement.peer in self.silent:
            self.wake.wait(DEADLINE)
        return None if announcement.peer in self.empty else announcement.peer.encode()

    def take(self, announcement: Announcement, body: bytes) -> bool:
        assert body == announcement.peer.encode()
        self.taken.append(announcement.peer)
        return announcement.peer not in self.refused


def peers(*numbers: int) -> set[str]:
    return {OFFERS[number].peer for number in numbers}


@pytest.fixture
def woken() -> Iterator[list[Town]]:
    """Towns whose silent publishers are let go at the end."""
    towns: list[Town] = []
    yield towns
    for town in towns:
        town.wake.set()


def test_no_more_is_fetched_than_wanted() -> None:
    town = Town(set(), set())
    FetchPool(town.fetch, 4, DEADLINE).gather(OFFERS, 5, DEADLINE, town.take)
    assert set(town.asked) == set(town.taken) == peers(*range(5))


def test_failed_and_refused_bodies_are_substituted() -> None:
    town = Town(set(), empty=peers(0, 2))
    town.refused = peers(1)
    FetchPool(town.fetch, 2, DEADLINE).gather(OFFERS, 3, DEADLINE, town.take)
    assert set(town.asked) == peers(0, 1, 2, 3, 4, 5)
    assert set(town.taken) == peers(1, 3, 4, 5)


def test_silent_publishers_give_way_and_what_they_bring_late_is_taken_in_the_next_call(
    woken: list[Town],
) -> None:
    town = Town(silent=peers(0, 1), empty=set())
    woken.append(town)
    fetchers = FetchPool(town.fetch, 2, patience=0.05)
    fetchers.gather(OFFERS[:6], 4, DEADLINE, town.take)
    assert set(town.taken) == peers(2, 3, 4, 5)
    assert fetchers.busy_with(OFFERS[0]) and not fetchers.busy_with(OFFERS[2])
    late = [pending.body for pending in fetchers._running]
    town.wake.set()
    for body in late:
        body.result(DEADLINE)
    fetchers.gather((), 0, 0.0, town.take)
    assert set(town.taken) == peers(*range(6))
    assert not fetchers.busy_with(OFFERS[0])


def test_when_all_are_silent_the_call_ends_and_the_number_of_fetches_is_bounded(woken: list[Town]) -> None:
    town = Town(silent=peers(*range(12)), empty=set())
    woken.append(town)
    fetchers = FetchPool(town.fetch, 1, patience=0.001)
    for _ in range(5):
        fetchers.gather(OFFERS * 3, 3, 0.05, town.take)
    assert town.taken == []
    assert len(fetchers._running) <= 13
    fetchers.close()
