"""The in-process swarm, its faults, and the silo beside it."""

from __future__ import annotations

import socket

import pytest
from fakes import ALICE, BOB, MALLORY, ManualClock, body, group

from swarm.errors import FetchFailed, TransportDown
from swarm.limits import MAX_LIFETIME
from swarm.transport.in_memory import Faults, MemoryHub, MemoryTransport
from swarm.transport.silo import SiloTransport
from swarm.wire.announcement import summarise
from swarm.wire.body_codec import encode_body

SUMMARY = summarise([group(1)], 1, 3, "tiny")


def swarm_of(*peers: str, faults: Faults = Faults()) -> tuple[MemoryHub, ManualClock, list[MemoryTransport]]:  # noqa: B008
    clock = ManualClock()
    hub = MemoryHub("s", clock, faults)
    return hub, clock, [hub.join(peer) for peer in peers]


def test_what_one_publishes_others_find_and_fetch() -> None:
    _, _, (alice, bob) = swarm_of(ALICE, BOB)
    wire = encode_body(body([group(1)], ALICE))
    announcement = alice.publish(wire, SUMMARY)
    assert bob.announcements(9) == [announcement]
    assert bob.fetch(announcement) == wire
    assert alice.announcements(9) == []
    assert bob.status().counters == {"fetched": 1, "fetched_bytes": len(wire)}


def test_the_newest_of_each_peer_is_announced_newest_first_and_no_more_than_wanted() -> None:
    _, clock, (alice, bob, mallory) = swarm_of(ALICE, BOB, MALLORY)
    old = alice.publish(b"old", SUMMARY)
    clock.now += 1
    other = bob.publish(b"other", SUMMARY)
    clock.now += 1
    new = alice.publish(b"new", SUMMARY)
    assert mallory.announcements(9) == [new, other]
    assert mallory.announcements(1) == [new]
    assert mallory.fetch(old) == b"old"  # what was announced a moment ago can still be had


def test_names_of_one_host_take_no_place_before_each_host_has_one() -> None:
    hub, clock, (alice,) = swarm_of(ALICE)
    clock.now += 1
    for name, host in ((BOB, 1), ("c", 2), ("d", 2), ("e", 2)):
        hub.publish(name, b"body", SUMMARY, (f"/ip4/45.0.0.{host}/tcp/1",), clock.now)
        clock.now += 1
    assert [found.peer for found in alice.announcements(3)] == ["e", BOB, "d"]


def test_announcements_expire() -> None:
    _, clock, (alice, bob) = swarm_of(ALICE, BOB)
    announcement = alice.publish(b"body", SUMMARY)
    clock.now += MAX_LIFETIME
    assert bob.announcements(9) == []
    with pytest.raises(FetchFailed):
        bob.fetch(announcement)


def test_a_delay_hides_what_is_new_and_not_what_was_before_it() -> None:
    _, clock, (alice, bob) = swarm_of(ALICE, BOB, faults=Faults(delay=2.0))
    first = alice.publish(b"first", SUMMARY)
    assert bob.announcements(9) == []
    clock.now += 2
    alice.publish(b"second", SUMMARY)
    assert bob.announcements(9) == [first]


def test_lost_fetches_follow_the_seed_and_the_share() -> None:
    def outcomes(seed: int) -> list[bool]:
        _, _, (alice, bob) = swarm_of(ALICE, BOB, faults=Faults(loss=0.3, seed=seed))
        announcement = alice.publish(b"body", SUMMARY)
        return [arrives(bob, announcement) for _ in range(500)]

    assert outcomes(1) == outcomes(1)
    assert outcomes(1) != outcomes(2)
    # Binomial(500, 0.3): five standard deviations are 51.
    assert abs(outcomes(1).count(False) - 150) < 51


def arrives(reader: MemoryTransport, announcement: object) -> bool:
    try:
        reader.fetch(announcement)
    except FetchFailed:
        return False
    return True


def test_a_partition_separates_until_it_heals() -> None:
    hub, _, (alice, bob, mallory) = swarm_of(ALICE, BOB, MALLORY)
    hub.faults = Faults(parts=(frozenset({ALICE, BOB}), frozenset({MALLORY})))
    announcement = alice.publish(b"body", SUMMARY)
    assert bob.announcements(9) == [announcement]
    assert mallory.announcements(9) == []
    hub.faults = Faults()
    assert mallory.announcements(9) == [announcement]


def test_a_closed_transport_is_down_and_its_offers_are_gone() -> None:
    _, _, (alice, bob) = swarm_of(ALICE, BOB)
    alice.publish(b"body", SUMMARY)
    alice.close()
    alice.close()
    assert bob.announcements(9) == []
    assert not alice.status().healthy
    bob.wait_ready()
    for call in (alice.wait_ready, lambda: alice.announcements(1), lambda: alice.publish(b"", SUMMARY)):
        with pytest.raises(TransportDown):
            call()


def test_a_silo_offers_nothing_and_makes_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a silo made a socket")

    monkeypatch.setattr(socket, "socket", forbidden)
    silo = SiloTransport()
    announcement = silo.publish(b"body", SUMMARY)
    assert announcement.expires <= announcement.created
    assert silo.announcements(9) == ()
    assert silo.status().healthy
    with pytest.raises(FetchFailed):
        silo.fetch(announcement)
    silo.close()
