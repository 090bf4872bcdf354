"""Names that announce bodies which nobody serves: the node is alone and says so, and goes on looking for others."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
from announcing import MANIFEST, NOW, announce
from fakes import ALICE, NODE, SWARM, Addition, ManualClock, body, encode, group, offer

from swarm.admission.peer_records import Standing
from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.discovery.shard_reader import SPARE, ShardReader
from swarm.errors import FetchFailed
from swarm.exchange.told_refusals import NO_REFUSALS
from swarm.gossip.service import Gossip
from swarm.gossip.settings import GossipSettings
from swarm.sampling.external_pool import ExternalPool
from swarm.transport.base import TransportStatus
from swarm.wire.announcement import Announcement, Summary
from swarm.wire.identity import Identity

WAVE = 24


class Deserted:
    """A network in which nothing is served but what `served` holds."""

    def __init__(self) -> None:
        self.offers: list[tuple[Announcement, bytes]] = []
        self.served: set[str] = set()  # peers

    def wait_ready(self, timeout: float | None = None) -> None: ...

    def publish(self, body: bytes, summary: Summary) -> Announcement:
        raise AssertionError("nothing is published here")

    def announcements(
        self, want: int, declined: Sequence[Announcement] = (), known: Sequence[str] = ()
    ) -> Sequence[Announcement]:
        return [announcement for announcement, _ in self.offers]

    def fetch(self, announcement: Announcement, refused: Mapping[str, int] = NO_REFUSALS) -> bytes:
        if announcement.peer not in self.served:
            raise FetchFailed("cannot be reached")
        return next(wire for offered, wire in self.offers if offered == announcement)

    def status(self) -> TransportStatus:
        return TransportStatus(True, (), 0, {}, "")

    def close(self) -> None: ...

    def announce(self, peer: str, number: int, seed: int) -> None:
        place = f"/ip4/203.{number}.113.9/tcp/4001"
        self.offers.append(offer(body([group(seed), group(seed + 1)], peer), addresses=(place,)))


def test_a_crowd_that_serves_nothing_leaves_a_node_alone_and_finds_no_peer_known() -> None:
    """A node whose whole swarm had gone did not notice, as long as somebody announced."""
    network, clock, pool = Deserted(), ManualClock(), ExternalPool()
    keeper = RolloutVerifier(SWARM, NODE, {Addition.name: Addition()}, encode, clock)
    settings = GossipSettings(brief=0.05, patience=0.05, deadline=5.0, alone_after=30.0)
    gossip = Gossip(network, keeper, pool, clock, np.random.default_rng(0), settings)
    for number in range(WAVE):
        network.announce(f"12D3Dead{number}", number, 10 * number)
    for _ in range(4):
        gossip.step()
    assert gossip.alone and len(pool) == 0
    assert gossip.counters()["fetch_failed"] > 0
    assert all(keeper.records.standing(f"12D3Dead{n}") is not Standing.KNOWN for n in range(WAVE))
    network.served.add(ALICE)
    network.announce(ALICE, 99, 1000)
    for _ in range(8):
        gossip.step()
    assert not gossip.alone and keeper.records.standing(ALICE) is Standing.KNOWN and len(pool) == 2


def test_announcements_that_were_fetched_in_vain_do_not_end_the_search_for_others() -> None:
    """Twelve names with 5.7 kB of announcements counted as enough, and no node looked into the DHT any more."""
    store = AnnouncementStore(AnnouncementFilter(MANIFEST, lambda: NOW), Identity(bytes([3]) * 32).peer_id)
    reader = ShardReader(MANIFEST, store, 600.0, random.Random(0))
    dead = [announce(Identity(bytes([2, number]) * 16)) for number in range(WAVE)]
    store.add([announcement.encode() for announcement in dead])
    epoch = dead[0].epoch
    assert not reader._too_few(epoch, SPARE * 4), "while they are new, they are looked for no further"
    for announcement in dead:
        reader.mark_fetched(announcement)
    assert reader._too_few(epoch, SPARE * 4)
