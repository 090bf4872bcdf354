"""Which bodies a node fetches."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from announcing import NOW, unsigned

from swarm.admission.peer_records import PeerRecords
from swarm.admission.refusal import Reason
from swarm.admission.verdict import Outcome, Verdict
from swarm.gossip.body_selection import WaitingGroups, select_bodies
from swarm.wire.announcement import Announcement
from swarm.wire.identity import Identity

A, B, C, D = (Identity(bytes([number]) * 32).peer_id for number in range(4))


def always(announcement: Announcement) -> bool:
    return True


def records() -> PeerRecords:
    return PeerRecords(lambda: NOW)


def test_each_publisher_counts_once_with_its_newest() -> None:
    loud = [unsigned(A, created=NOW - age) for age in range(5)]
    assert select_bodies(loud, always, records(), 8, np.random.default_rng(1)) == loud[:1]


def test_publishers_are_chosen_uniformly_and_no_more_than_asked() -> None:
    generator, newcomers = np.random.default_rng(2), records()
    found = [unsigned(peer) for peer in (A, B, C, D, A, A)]
    chosen = [select_bodies(found, always, newcomers, 2, generator) for _ in range(1000)]
    assert {len(choice) for choice in chosen} == {2}
    counts = Counter(a.peer for choice in chosen for a in choice)
    assert all(430 < counts[peer] < 570 for peer in (A, B, C, D))


def test_what_is_not_worth_fetching_is_left_out_and_gives_no_older_one_a_turn() -> None:
    found = [unsigned(A, created=NOW), unsigned(B), unsigned(A, created=NOW - 60)]
    chosen = select_bodies(found, lambda a: a is not found[0], records(), 8, np.random.default_rng(3))
    assert chosen == [found[1]]


def test_known_publishers_come_first_and_newcomers_between_them() -> None:
    known = records()
    for peer in (A, B, C):
        known.note_delivered(peer, "203.0.113.7", [Verdict(Outcome.ACCEPTED, peer)] * 3)
    newcomers = [unsigned(Identity(bytes([number]) * 32).peer_id) for number in range(100, 160)]
    found = [*newcomers, *map(unsigned, (A, B, C))]
    for seed in range(30):
        chosen = select_bodies(found, always, known, 4, np.random.default_rng(seed))
        assert {a.peer for a in chosen} >= {A, B, C}
        assert len(chosen) == 4


def test_a_publisher_that_rests_is_not_fetched_from() -> None:
    resting = records()
    resting.note_delivered(A, "203.0.113.7", [Verdict.refused(A, Reason.DECODE, "junk")] * 5)
    assert select_bodies([unsigned(A), unsigned(B)], always, resting, 8, np.random.default_rng(1)) == [
        unsigned(B)
    ]


def waiting(counts: dict[str, int], enough: int = 32) -> WaitingGroups:
    """Peers named `host/name`, each with a body delivered from there."""
    records = PeerRecords(lambda: 0.0)
    for peer in counts:
        records.note_delivered(peer, peer.partition("/")[0], [])
    return WaitingGroups(counts, records, enough)


@pytest.mark.parametrize(
    ("counts", "enough"),
    [
        ({}, False),
        ({"192.0.2.1/a": 31}, False),
        ({"192.0.2.1/a": 500}, False),  # one address does not fill the pool
        ({f"192.0.2.1/{n}": 4 for n in range(20)}, False),  # nor do its names
        ({"192.0.2.1/a": 16, "192.0.2.2/b": 15}, False),
        ({"192.0.2.1/a": 16, "192.0.2.2/b": 16}, True),
        ({f"192.0.2.{n}/a": 4 for n in range(8)}, True),
    ],
)
def test_the_pool_is_full_whoever_fills_it_but_for_one_address(counts: dict[str, int], enough: bool) -> None:
    assert waiting(counts).are_enough() is enough


def test_an_address_that_has_filled_the_pool_is_not_fetched_from_and_others_are() -> None:
    """Names that were never fetched from count at the address that they announce."""
    records = PeerRecords(lambda: NOW)
    for peer, host in ((A, "192.0.2.1"), (B, "192.0.2.1"), (C, "192.0.2.2")):
        records.note_delivered(peer, host, [])
    found = WaitingGroups({A: 20, B: 12, C: 31}, records, 32)
    assert [found.are_enough_of(unsigned(peer)) for peer in (A, B, C)] == [True, True, False]
    fresh = [unsigned(D, addresses=(f"/ip4/{host}/tcp/4001",)) for host in ("192.0.2.1", "192.0.2.3")]
    assert [found.are_enough_of(announcement) for announcement in fresh] == [True, False]
