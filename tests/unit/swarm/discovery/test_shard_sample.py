"""Publishers drawn from shards: each with the same chance."""

from __future__ import annotations

import random
from collections import Counter

from announcing import NOW, unsigned

from swarm.discovery.shard_sample import ShardSample
from swarm.wire.announcement import Announcement
from swarm.wire.identity import Identity

PEERS = [Identity(bytes([number]) * 32).peer_id for number in range(30)]


def offer(peer: str, **changes: object) -> Announcement:
    return unsigned(peer, **{"digest": peer[:32].encode(), **changes})


def test_the_chance_to_be_drawn_does_not_depend_on_the_size_of_the_shard() -> None:
    generator, counts = random.Random(1), Counter[str]()
    few, many = [offer(peer) for peer in PEERS[:3]], [offer(peer) for peer in PEERS[3:]]
    for _ in range(1000):
        for shard in (few, many):
            drawn = ShardSample(generator)
            drawn.add(shard, share=0.3)
            counts.update(a.peer for a in drawn.waiting())
    assert all(240 < counts[peer] < 360 for peer in PEERS)  # 300, and four deviations of 14.5


def test_a_publisher_with_several_announcements_counts_once_with_its_newest() -> None:
    generator, drawn_times = random.Random(2), 0
    loud = [offer(PEERS[0], created=NOW + age, digest=bytes([age]) * 32) for age in range(5)]
    for _ in range(1000):
        drawn = ShardSample(generator)
        drawn.add(loud, share=0.3)
        drawn_times += len(drawn)
        assert drawn.waiting() in ([], loud[4:])
    assert 240 < drawn_times < 360


def test_who_had_a_turn_waits_for_none_until_it_has_a_new_body() -> None:
    drawn, old = ShardSample(random.Random(3)), offer(PEERS[0])
    drawn.add([old], share=1.0)
    drawn.mark_fetched(old)
    drawn.add([old], share=1.0)
    assert drawn.waiting() == []
    new = offer(PEERS[0], digest=b"n" * 32)
    drawn.add([new], share=1.0)
    assert drawn.waiting() == [new]


def test_draws_of_old_epochs_are_forgotten() -> None:
    drawn = ShardSample(random.Random(4))
    drawn.add([offer(PEERS[number], epoch=number) for number in range(4)], share=1.0)
    drawn.drop_before(2)
    assert [a.epoch for a in drawn.waiting()] == [2, 3]
