"""A simulated node publishes, reads, fetches and serves by the product's own rules and code.

The product's are the announcements, the filter, the announcement store, the body store, referrals and the token
bucket, and the choice of shards and bodies. Models are the DHT and the streams between nodes.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np

from swarm.admission.peer_records import PeerRecords
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.discovery.republish import draw_phase, is_due, next_moment, republished
from swarm.discovery.shard_reader import SPARE, ShardReader
from swarm.exchange.body_store import BodyStore, ServeLimits
from swarm.exchange.framing import Status
from swarm.exchange.rate_limit import TokenBucket
from swarm.exchange.referrals import MAX_REFERRALS, Referrals
from swarm.gossip.body_selection import TRIES_A_BODY, select_bodies
from swarm.gossip.settings import GossipSettings
from swarm.limits import MAX_PIGGYBACK, STREAM_TIMEOUT
from swarm.simulation import costs
from swarm.simulation.counters import Counters, Tally
from swarm.simulation.dht import Cost, Dht
from swarm.simulation.links import Host, Links
from swarm.simulation.scenario import Scenario
from swarm.simulation.shared_filter import SharedFilter
from swarm.simulation.virtual_clock import Process, VirtualClock
from swarm.wire.announcement import Announcement, Summary, TaskSummary, epoch_of, shard_key, shard_of
from swarm.wire.identity import Identity

_LIMITS, _GOSSIP = ServeLimits(), GossipSettings()
_BURST = 4 * _LIMITS.upload_rate  # as swarm.exchange.body_exchange has it
_CYCLES = 3  # of looking and fetching in a round, at most: the product's are two seconds apart
_SUMMARY = Summary(1, 1, "smollm2-135m", 4, 32, (TaskSummary("sort@1", 32, 0.25),))


@dataclass(slots=True)
class World:
    """What all nodes of a simulation share."""

    scenario: Scenario
    clock: VirtualClock
    links: Links
    dht: Dht
    shared_filter: SharedFilter
    counters: Counters
    draws: random.Random
    choices: np.random.Generator
    swarm: str  # its id
    body: bytes  # every body: what is in it does not matter here, and its digest is made up
    nodes: dict[str, SimNode] = field(default_factory=dict)  # by PeerID, those that live


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node sends back for a digest."""

    status: Status
    size: int  # bytes of the body
    gossip: Sequence[bytes]
    referrals: Sequence[str]


class SimNode:
    """Two processes of the virtual clock: `play` has its rounds, `stay_present` republishes."""

    def __init__(self, world: World, identity: Identity, host: Host, pace: float) -> None:
        """`pace` is the length of its rounds in virtual seconds."""
        self.host = host
        self._world = world
        self._identity = identity
        self._pace = pace
        self._announcements = AnnouncementStore(world.shared_filter, host.peer, world.draws)
        manifest, lifetime = world.shared_filter.manifest, world.scenario.lifetime
        self._shard_reader = ShardReader(manifest, self._announcements, lifetime, world.draws)
        self._bodies = BodyStore(_LIMITS.stored)
        self._upload = TokenBucket(_LIMITS.upload_rate, _BURST, lambda: world.clock.now)
        self._serving = 0
        self._referrals = Referrals()
        self._newest: Announcement | None = None  # of its own
        self._offer: bytes | None = None  # the same, encoded
        self._published = 0
        self._republishing = Tally()  # what it cost since the last round's end
        self._records = PeerRecords(lambda: world.clock.now)  # all are newcomers here: nobody misbehaves
        self._seen: set[bytes] = set()  # digests of bodies that came
        self._failures: Counter[bytes] = Counter()  # by digest
        self._under_way = 0  # fetches

    def play(self) -> Process:
        """One round after the other, until the node leaves."""
        clock = self._world.clock
        while True:
            began, tally = clock.now, self._republishing
            self._republishing = Tally()
            for phase in (self._publish, *(self._look, self._collect) * _CYCLES):
                yield from phase(tally)
                if not self.host.alive:
                    return
                if tally.bodies >= self._world.scenario.bodies:
                    break
            self._world.counters.close(tally, began, clock.now)
            yield max(0.0, began + self._pace - clock.now)
            if not self.host.alive:
                return

    def stay_present(self) -> Process:
        """In an epoch without anything new it announces its newest body again, until the node leaves."""
        world, phase = self._world, draw_phase(self._world.draws)
        length = world.shared_filter.manifest.epoch_seconds
        while True:
            yield next_moment(world.clock.now, length, phase) - world.clock.now
            if not self.host.alive:
                return
            if self._newest and is_due(self._newest, world.clock.now, length, phase):
                again = republished(self._newest, world.clock.now, length).sign(self._identity)
                yield from self._put_up(again, self._republishing)

    def answer(self, digest: bytes) -> Answer:
        """As the product's exchange answers a request; an OK takes a serving slot until `finish`."""
        world, body = self._world, self._bodies.get(digest)
        own = [self._offer] if self._offer else []
        drawn = self._announcements.draw(MAX_PIGGYBACK - len(own))
        gossip = [*own, *map(world.shared_filter.encoded, drawn)]
        size = len(body or b"") + sum(map(len, gossip))
        if body is None:
            status = Status.NOT_FOUND
        elif self._serving >= _LIMITS.slots or not self._upload.take(size):
            status = Status.BUSY
        else:
            status = Status.OK
            self._serving += 1
        sent = len(body) if body and status is Status.OK else 0
        return Answer(status, sent, gossip, self._referrals.of(digest))

    def finish(self, fetcher: Host, digest: bytes, size: int, *, arrived: bool) -> None:
        """The body that `answer` began to send has arrived, or will not."""
        self._serving -= 1
        if not arrived:
            return
        self._world.counters.served(self.host, size)
        self._referrals.note(fetcher.peer, digest)

    def _publish(self, tally: Tally) -> Process:
        world, peer = self._world, self.host.peer
        self._published += 1
        digest = hashlib.sha256(f"{peer}/{self._published}".encode()).digest()
        announcement = self._announce(digest)
        self._bodies.put_own(digest, world.body)
        world.counters.offered(self.host, digest)
        yield from self._put_up(announcement, tally)

    def _put_up(self, announcement: Announcement, tally: Tally) -> Process:
        world, raw = self._world, announcement.encode()
        world.shared_filter.admit(raw)
        self._newest, self._offer = announcement, raw
        tally.announcements += 1
        key = shard_key(announcement.swarm, announcement.epoch, announcement.depth, announcement.shard)
        replicas, cost = world.dht.find_replicas(self.host, key)
        yield self._book_announcement(tally, cost)
        if self.host.alive:
            cost = world.dht.put(self.host, replicas, key, raw, announcement.expires)
            yield self._book_announcement(tally, cost)

    def _announce(self, digest: bytes) -> Announcement:
        world, peer, created = self._world, self.host.peer, self._world.clock.now
        manifest = world.shared_filter.manifest
        epoch = epoch_of(created, manifest.epoch_seconds)
        return Announcement(
            swarm=world.swarm,
            epoch=epoch,
            depth=manifest.shard_depth,
            shard=shard_of(peer, epoch, manifest.shard_depth),
            peer=peer,
            created=created,
            expires=created + world.scenario.lifetime,
            digest=digest,
            size=len(world.body),
            summary=_SUMMARY,
            addresses=("/ip4/203.0.113.7/tcp/31330",),
        ).sign(self._identity)

    def _look(self, tally: Tally) -> Process:
        """Reads shards until enough publishers are known, as swarm.network.supervisor does."""
        world = self._world
        current = epoch_of(world.clock.now, world.shared_filter.manifest.epoch_seconds)
        for keys in self._shard_reader.keys_to_read(current, SPARE * world.scenario.bodies):
            answers = [world.dht.read(self.host, key) for key in keys]
            tally.reads += len(keys)
            for _, cost in answers:
                tally.read_bytes += cost.bytes
                tally.book_rpcs(cost)
            yield max(cost.seconds for _, cost in answers)  # they are read at once
            if not self.host.alive:
                return
            self._shard_reader.add([raw for raws, _ in answers for raw in raws])

    def _collect(self, tally: Tally) -> Process:
        world = self._world
        bodies = world.scenario.bodies
        candidates = self._shard_reader.candidates(SPARE * bodies)
        count = TRIES_A_BODY * (bodies - tally.bodies)
        waiting = deque(select_bodies(candidates, self._worth_fetching, self._records, count, world.choices))
        lanes = [self._fetch_waiting(waiting, tally) for _ in range(_GOSSIP.parallel)]
        yield from world.clock.side_by_side(lanes)

    def _worth_fetching(self, announcement: Announcement) -> bool:
        digest = announcement.digest
        return digest not in self._seen and self._failures[digest] < _GOSSIP.tries

    def _fetch_waiting(self, waiting: deque[Announcement], tally: Tally) -> Process:
        """One fetch at a time, while more bodies are wanted than are under way."""
        while waiting and self.host.alive and tally.bodies + self._under_way < self._world.scenario.bodies:
            self._under_way += 1
            yield from self._fetch(waiting.popleft(), tally)
            self._under_way -= 1

    def _fetch(self, wanted: Announcement, tally: Tally) -> Process:
        """From the publisher, or from those it refers to, as the product's exchange does."""
        clock = self._world.clock
        deadline = clock.now + STREAM_TIMEOUT - 1
        untried, tried = [wanted.peer], set[str]()
        while untried and len(tried) <= MAX_REFERRALS and clock.now < deadline:
            peer = untried.pop(0)
            tried.add(peer)
            answer = yield from self._ask(peer, wanted, tally, deadline)
            if not self.host.alive or (answer and answer.status is Status.OK):
                self._shard_reader.mark_fetched(wanted)
                return
            untried += [p for p in answer.referrals if p not in {*tried, *untried}] if answer else []
        self._shard_reader.mark_fetched(wanted)
        self._failures[wanted.digest] += 1
        tally.failed += 1

    def _ask(
        self, peer: str, wanted: Announcement, tally: Tally, deadline: float
    ) -> Generator[float, None, Answer | None]:
        """One request to one peer; None when no whole answer comes."""
        world, links, clock = self._world, self._world.links, self._world.clock
        source = world.nodes.get(peer)
        if source is None or not links.reaches(self.host, source.host):
            yield min(costs.DIAL_TIMEOUT, deadline - clock.now)
            return None
        trip = links.round_trip(self.host, source.host)
        tally.body_bytes += costs.FETCH_BYTES
        if links.connect(self.host, source.host):
            tally.connection_bytes += costs.CONNECTION_BYTES
            yield costs.CONNECTION_TRIPS * trip
        yield trip / 2
        if links.loses() or not links.reaches(self.host, source.host):
            yield max(0.0, deadline - clock.now)
            return None
        answer = source.answer(wanted.digest)
        yield trip / 2 + answer.size / costs.LINK_RATE
        arrived = self.host.alive and links.reaches(self.host, source.host)
        if answer.status is Status.OK:
            source.finish(self.host, wanted.digest, answer.size, arrived=arrived)
        if not arrived:
            return None
        tally.gossip_bytes += sum(map(len, answer.gossip)) + costs.GOSSIP_OVERHEAD * len(answer.gossip)
        self._announcements.add(answer.gossip)
        if answer.status is Status.OK:
            self._take(wanted, source.host, tally)
        return answer

    def _take(self, body: Announcement, source: Host, tally: Tally) -> None:
        world = self._world
        self._seen.add(body.digest)
        self._bodies.put_copy(body.digest, world.body)
        tally.bodies += 1
        tally.body_bytes += body.size * costs.BODY_OVERHEAD
        parted = world.links.parted
        world.counters.fetched(self.host, source, body, world.clock.now, parted=parted)

    def _book_announcement(self, tally: Tally, cost: Cost) -> float:
        """The seconds that it took."""
        tally.announce_bytes += cost.bytes
        tally.book_rpcs(cost)
        return cost.seconds
