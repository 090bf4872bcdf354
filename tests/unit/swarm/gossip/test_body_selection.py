"""Which bodies a node fetches."""

from __future__ import annotations

from collections import Counter

import numpy as np
from announcing import NOW, unsigned

from swarm.gossip.body_selection import select_bodies
from swarm.wire.announcement import Announcement
from swarm.wire.identity import Identity

A, B, C, D = (Identity(bytes([number]) * 32).peer_id for number in range(4))


def always(announcement: Announcement) -> bool:
    return True


def test_each_publisher_counts_once_with_its_newest() -> None:
    loud = [unsigned(A, created=NOW - age) for age in range(5)]
    assert select_bodies(loud, always, 8, np.random.default_rng(1)) == loud[:1]


def test_publishers_are_chosen_uniformly_and_no_more_than_asked() -> None:
    generator = np.random.default_rng(2)
    found = [unsigned(peer) for peer in (A, B, C, D, A, A)]
    chosen = [select_bodies(found, always, 2, generator) for _ in range(1000)]
    assert {len(choice) for choice in chosen} == {2}
    counts = Counter(a.peer for choice in chosen for a in choice)
    assert all(430 < counts[peer] < 570 for peer in (A, B, C, D))


def test_what_is_not_worth_fetching_is_left_out_and_gives_no_older_one_a_turn() -> None:
    found = [unsigned(A, created=NOW), unsigned(B), unsigned(A, created=NOW - 60)]
    chosen = select_bodies(found, lambda a: a is not found[0], 8, np.random.default_rng(3))
    assert chosen == [found[1]]
