"""Whom a node knows, and whom it tells others of."""

from __future__ import annotations

import random
from collections import Counter

from announcing import MANIFEST, NOW, announce

from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.wire.announcement import epoch_of, shard_of
from swarm.wire.identity import Identity

PEERS = [Identity(bytes([number]) * 32) for number in range(1, 7)]


class Hall:
    """A directory with a clock to turn."""

    def __init__(self, seed: int = 1) -> None:
        self.now = NOW
        self.directory = AnnouncementStore(
            AnnouncementFilter(MANIFEST, lambda: self.now), "own", random.Random(seed)
        )

    def learn(self, *lives: float) -> None:
        """One announcement a peer, that lives so many seconds."""
        self.directory.add(
            [announce(peer, expires=NOW + life).encode() for peer, life in zip(PEERS, lives, strict=False)]
        )


def test_equal_seeds_draw_the_same_peers() -> None:
    drawn = []
    for seed in (1, 1, 2):
        hall = Hall(seed)
        hall.learn(*[600.0] * 6)
        drawn.append([[a.peer for a in hall.directory.draw(3)] for _ in range(4)])
    assert drawn[0] == drawn[1] != drawn[2]


def test_draws_are_uniform_over_publishers() -> None:
    hall = Hall()
    hall.learn(*[600.0] * 6)
    counts = Counter(a.peer for _ in range(1200) for a in hall.directory.draw(2))
    assert len(counts) == 6
    assert all(330 < count < 470 for count in counts.values())


def test_what_expired_is_neither_drawn_nor_listed_whenever_it_came() -> None:
    hall = Hall()
    hall.learn(600.0, 20.0, 300.0, 10.0)
    for seconds, left in ((5, 4), (15, 3), (25, 2), (400, 1), (700, 0)):
        hall.now = NOW + seconds
        assert len(hall.directory.draw(8)) == len(hall.directory.live()) == left


def test_a_newer_announcement_outlives_the_one_that_it_replaced() -> None:
    hall = Hall()
    hall.learn(10.0)
    hall.directory.add([announce(PEERS[0], created=NOW + 1, expires=NOW + 500).encode()])
    hall.now = NOW + 20
    assert [a.created for a in hall.directory.live()] == [NOW + 1]
    hall.learn(*[30.0] * 6)  # expires before what is held
    hall.now = NOW + 40
    assert len(hall.directory.draw(8)) == 1


def test_what_was_admitted_by_a_clock_that_is_set_back_gives_way_to_what_comes_after() -> None:
    hall = Hall()
    hall.now = NOW + 3600.0
    epoch = epoch_of(hall.now, MANIFEST.epoch_seconds)
    shard = shard_of(PEERS[0].peer_id, epoch, MANIFEST.shard_depth)
    early = announce(PEERS[0], created=hall.now, expires=hall.now + 600.0, epoch=epoch, shard=shard)
    hall.directory.add([early.encode()])
    assert [a.created for a in hall.directory.live()] == [NOW + 3600.0]
    hall.now = NOW + 1.0
    assert hall.directory.live() == []
    hall.directory.add([announce(PEERS[0]).encode()])
    assert [a.created for a in hall.directory.live()] == [NOW]
