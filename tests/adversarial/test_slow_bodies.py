"""Peers that serve nothing, or a byte now and then: they hold few fetch slots, come last, and delay no publication."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
from fakes import ALICE, NODE, SWARM, Addition, ManualClock, body, encode, group, offer

from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.errors import FetchFailed
from swarm.exchange.told_refusals import NO_REFUSALS
from swarm.gossip.service import Gossip
from swarm.gossip.settings import GossipSettings
from swarm.sampling.external_pool import ExternalPool
from swarm.transport.base import TransportStatus
from swarm.wire.announcement import Announcement, Summary

SECONDS = 20.0  # before a test gives up; none comes near it
SYBILS = 24


class Dripping:
    """A network in which the bodies of `slow` peers come when all is over; those of others at once."""

    def __init__(self) -> None:
        self.offers: list[tuple[Announcement, bytes]] = []
        self.slow: set[str] = set()
        self.over, self.published = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.holding: Counter[str] = Counter()  # fetches under way, by host
        self.most: Counter[str] = Counter()
        self.asked: list[str] = []

    def wait_ready(self, timeout: float | None = None) -> None: ...

    def publish(self, body: bytes, summary: Summary) -> Announcement:
        self.published.set()
        return self.offers[0][0]

    def announcements(
        self, want: int, declined: Sequence[Announcement] = (), known: Sequence[str] = ()
    ) -> Sequence[Announcement]:
        return [announcement for announcement, _ in self.offers]

    def fetch(self, announcement: Announcement, refused: Mapping[str, int] = NO_REFUSALS) -> bytes:
        self.asked.append(announcement.peer)
        if announcement.peer not in self.slow:
            return next(wire for offered, wire in self.offers if offered == announcement)
        with self.lock:
            self.holding[announcement.host] += 1
            self.most[announcement.host] = max(self.most[announcement.host], self.holding[announcement.host])
            self.most["all"] = max(self.most["all"], self.holding.total())
        self.over.wait(SECONDS)
        with self.lock:
            self.holding[announcement.host] -= 1
        raise FetchFailed("too slow")

    def status(self) -> TransportStatus:
        return TransportStatus(True, (), 0, {}, "")

    def close(self) -> None: ...

    def announce(self, peer: str, host: str, seed: int) -> None:
        self.offers.append(offer(body([group(seed)], peer), addresses=(f"/ip4/{host}/tcp/4001",)))


@pytest.fixture
def net() -> Iterator[Dripping]:
    network = Dripping()
    yield network
    network.over.set()


def node_on(network: Dripping, **settings: float) -> tuple[Gossip, ExternalPool]:
    pool, clock = ExternalPool(), ManualClock()
    keeper = RolloutVerifier(SWARM, NODE, {Addition.name: Addition()}, encode, clock)
    chosen = GossipSettings(**settings)
    return Gossip(network, keeper, pool, clock, np.random.default_rng(0), chosen), pool


def test_slow_fetches_delay_no_publication(net: Dripping) -> None:
    net.announce(ALICE, "198.51.100.1", 1)
    net.slow = {ALICE}
    gossip, _ = node_on(net, interval=0.01, patience=SECONDS, deadline=SECONDS)
    gossip.start()
    while not net.asked:
        threading.Event().wait(0.01)
    gossip.publish([group(2)], 1, 0, "tiny")
    try:
        assert net.published.wait(SECONDS)
    finally:
        net.over.set()
        gossip.close()
    assert gossip.counters()["published"] == 1


@pytest.mark.parametrize(
    ("hosts", "a_host", "in_all"),
    [
        (["203.0.113.9"] * SYBILS, 2, 2),
        ([f"203.0.113.{number}" for number in range(SYBILS)], 1, 4),
        ([f"203.{number}.113.9" for number in range(SYBILS)], 1, 12),
    ],
    ids=["one address", "one subnet", "many subnets"],
)
def test_sybils_that_drip_hold_their_networks_share_of_the_slots(
    net: Dripping, hosts: list[str], a_host: int, in_all: int
) -> None:
    known = [f"12D3Known{number}" for number in range(3)]
    for number, peer in enumerate(known):
        net.announce(peer, f"198.51.{number}.1", number)
    gossip, pool = node_on(net, brief=0.02, patience=2.0, deadline=SECONDS)
    for seed in (100, 200):  # two good groups make a peer known
        net.offers = []
        for number, peer in enumerate(known):
            net.announce(peer, f"198.51.{number}.1", seed + number)
        gossip.step()
    sybils = {f"12D3Sybil{number}" for number in range(SYBILS)}
    net.slow = sybils
    for number, peer in enumerate(sorted(sybils)):
        net.announce(peer, hosts[number], 300 + number)
    for seed in (400, 500, 600, 700):
        net.offers = [each for each in net.offers if each[0].peer in sybils]
        for number, peer in enumerate(known):
            net.announce(peer, f"198.51.{number}.1", seed + number)
        gossip.step()
    assert pool.counts() == dict.fromkeys(known, 6)
    assert max(net.most[host] for host in hosts) == a_host
    assert 0 < net.most["all"] <= in_all


def test_peers_whose_fetches_failed_come_last(net: Dripping) -> None:
    sybils = {f"12D3Sybil{number}" for number in range(SYBILS)}
    for number, peer in enumerate(sorted(sybils)):
        net.announce(peer, f"203.{number}.113.9", number)
    net.slow = sybils
    net.over.set()  # all fail at once
    gossip, pool = node_on(net)
    for _ in range(3):
        gossip.step()
    failed = gossip.counters()["fetch_failed"]
    assert failed >= SYBILS
    net.announce(ALICE, "203.99.113.9", 400)
    net.asked.clear()
    gossip.step()
    assert net.asked[0] == ALICE
    assert pool.counts() == {ALICE: 1}


def test_a_crowd_is_waited_for_briefly_while_known_peers_have_nothing_new(net: Dripping) -> None:
    """Cycles of 15 s among fresh names that lead nowhere missed half of what came meanwhile."""
    gossip, _ = node_on(net, brief=0.02, patience=SECONDS, deadline=SECONDS)
    for seed in (100, 200):
        net.offers = []
        net.announce(ALICE, "198.51.100.1", seed)
        gossip.step()
    net.announce("12D3Sybil", "203.0.113.9", 300)
    crowd = net.offers[-1][0]
    patience = gossip._patience([announcement for announcement, _ in net.offers])
    assert not gossip._may_fetch(net.offers[0][0]) and gossip._may_fetch(crowd)
    assert patience(crowd.peer) == 0.02 and patience(ALICE) == SECONDS
    assert gossip._patience([crowd])(crowd.peer) == SECONDS, "where nobody else is heard of"
