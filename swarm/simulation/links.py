"""The links between hosts: how long a message takes, whether it arrives, and who is cut off from whom."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from swarm.simulation.costs import KEPT_CONNECTIONS, MAX_CONNECTIONS
from swarm.simulation.scenario import Scenario

_MEAN_DISTANCE = 0.5214  # of two random points in the unit square
_NEAREST = 0.2  # share of the mean delay that the shortest link still has


@dataclass(slots=True, eq=False)
class Host:
    """What the network sees of a node."""

    number: int
    peer: str  # PeerID
    x: float  # its place in the unit square: delays grow with distance
    y: float
    half: int  # 0 or 1: a partition parts these
    alive: bool = True
    connections: dict[int, None] = field(default_factory=dict)  # numbers of hosts, longest unused first


class Links:
    """Seeded, so that a link has one delay for the whole simulation."""

    def __init__(self, scenario: Scenario, generator: random.Random) -> None:
        self.parted = False
        self._latency = scenario.latency / 1000.0
        self._lost = 1.0 - (1.0 - scenario.loss) ** 2  # request, answer or both
        self._generator = generator

    def settle(self, number: int, peer: str) -> Host:
        """A new host somewhere in the swarm."""
        draw = self._generator
        return Host(number, peer, draw.random(), draw.random(), draw.getrandbits(1))

    def round_trip(self, one: Host, other: Host) -> float:
        """Seconds there and back; the mean over all pairs is twice the scenario's latency."""
        distance = math.hypot(one.x - other.x, one.y - other.y) / _MEAN_DISTANCE
        return 2.0 * self._latency * (_NEAREST + (1.0 - _NEAREST) * distance)

    def reaches(self, one: Host, other: Host) -> bool:
        """Whether `other` lives, on the same side of a partition."""
        return other.alive and not (self.parted and one.half != other.half)

    def loses(self) -> bool:
        """Whether a request or its answer is lost, each by the scenario's share."""
        return self._lost > 0 and self._generator.random() < self._lost

    def connect(self, one: Host, other: Host) -> bool:
        """Whether that took a new connection. Each side keeps those that it used last."""
        new = other.number not in one.connections or one.number not in other.connections
        for host, peer in ((one, other), (other, one)):
            host.connections.pop(peer.number, None)
            host.connections[peer.number] = None
            if len(host.connections) > MAX_CONNECTIONS:
                host.connections = dict.fromkeys(list(host.connections)[-KEPT_CONNECTIONS:])
        return new
