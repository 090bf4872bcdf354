"""Counters of a running simulation, and of what must never happen in it."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass

from swarm.simulation.costs import CONNECTION_BYTES
from swarm.simulation.dht import Cost
from swarm.simulation.links import Host
from swarm.simulation.scenario import Scenario
from swarm.simulation.uniformity import Exposure
from swarm.wire.announcement import Announcement

_WINDOWS_A_ROUND = 4  # stretches of time in which what crosses the halves is counted


@dataclass(slots=True)
class Tally:
    """One round of one node. Bytes as `costs` defines them."""

    announce_bytes: float = 0.0
    read_bytes: float = 0.0
    body_bytes: float = 0.0  # bodies, with the requests for them
    gossip_bytes: float = 0.0  # announcements that rode on answers
    connection_bytes: float = 0.0  # new connections, to DHT servers and for bodies
    announcements: int = 0  # put into the DHT, republished ones too
    reads: int = 0  # DHT keys looked up for announcements
    rpcs: int = 0  # requests to DHT servers, those of the own announcement too
    bodies: int = 0
    failed: int = 0  # fetches that brought no body

    def book_rpcs(self, cost: Cost) -> None:
        """The requests and connections of a DHT operation; its bytes go where they belong."""
        self.rpcs += cost.rpcs
        self.connection_bytes += cost.connections * CONNECTION_BYTES


@dataclass(slots=True)
class Window:
    """What happened in a stretch of time."""

    bodies: int = 0
    crossing: int = 0  # bodies from one half of the swarm to the other
    rounds: int = 0  # that began in it


class Counters:
    """Tallies, ages and exposure count from the end of the warm-up; what must not happen, from the start."""

    def __init__(self, scenario: Scenario, start: float) -> None:
        self.window_seconds = scenario.round_seconds / _WINDOWS_A_ROUND
        self.tallies: list[Tally] = []
        self.ages = array("d")  # seconds from announcement to body
        self.exposure = Exposure()
        self.windows: defaultdict[int, Window] = defaultdict(Window)
        self.fetched_bytes = self.served_bytes = 0
        self.trained_twice = self.never_offered = self.crossed = self.answered_dead = 0
        self._start = start
        self._counted_from = start + scenario.counted_from
        self._publishers: dict[bytes, Host] = {}  # by digest of the body
        self._trained: set[tuple[int, bytes]] = set()

    def offered(self, publisher: Host, digest: bytes) -> None:
        """`publisher` has put up a body."""
        self._publishers[digest] = publisher
        self.exposure.enter(publisher)

    def served(self, source: Host, size: int) -> None:
        """`source` sent a whole body."""
        self.served_bytes += size
        self.answered_dead += not source.alive

    def fetched(self, reader: Host, source: Host, body: Announcement, now: float, *, parted: bool) -> None:
        """`reader` got a body from its publisher or, on referral, from another `source`, and trains on it."""
        self.fetched_bytes += body.size
        publisher = self._publishers.get(body.digest)
        self.never_offered += publisher is None or publisher.peer != body.peer
        self.trained_twice += (reader.number, body.digest) in self._trained
        self._trained.add((reader.number, body.digest))
        self.crossed += parted and reader.half != source.half
        window = self._window(now)
        window.bodies += 1
        window.crossing += reader.half != source.half
        if publisher is not None:
            self.exposure.fetch(reader, publisher, parted=parted)
        if now >= self._counted_from:
            self.ages.append(now - body.created)

    def close(self, tally: Tally, began: float, now: float) -> None:
        """A node's round is over: it bears the bodies of the time when it began, however long it then took."""
        self._window(began).rounds += 1
        if now >= self._counted_from:
            self.tallies.append(tally)

    def _window(self, now: float) -> Window:
        return self.windows[int((now - self._start) / self.window_seconds)]
