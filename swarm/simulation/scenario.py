"""Scenarios to simulate: how many nodes, for how long, and what goes wrong meanwhile."""

from __future__ import annotations

import math
from dataclasses import dataclass

from swarm.discovery.shard_reader import SHARD_MEMBERS
from swarm.limits import MAX_BODY, MAX_LIFETIME, MAX_SHARD_DEPTH

MAX_NODES = 100_000  # about 60 kB of memory each
MAX_ROUNDS = 1_000
MAX_BODIES = 64
MAX_NODE_ROUNDS = 5_000_000  # 3 ms and 150 bytes each
_MIN_SERVERS = 8  # the beam of a look-up


class ScenarioError(ValueError):
    """A scenario that cannot be played; the message says which option to change, and to what."""


@dataclass(frozen=True, slots=True)
class Partition:
    """From `start` to `end`, virtual seconds, each half of the swarm reaches itself alone."""

    start: float
    end: float

    @classmethod
    def parse(cls, text: str) -> Partition:
        """`START:END`. Raises ScenarioError."""
        start, _, end = text.partition(":")
        try:
            return cls(float(start), float(end))
        except ValueError as error:
            raise ScenarioError(f"--partition {text!r}: give START:END in seconds, as in 120:240") from error


@dataclass(frozen=True, slots=True)
class Scenario:
    """Raises ScenarioError when a value is out of bounds. Equal scenarios give equal outcomes."""

    nodes: int = 1_000
    rounds: int = 8  # of a node of mean speed
    bodies: int = 4  # J: fetched a round at most
    body_size: int = 100_000  # bytes
    latency: float = 50.0  # mean one-way delay of a link, milliseconds
    loss: float = 0.0  # share of messages that never arrive
    churn: float = 0.0  # share of the nodes that leave each minute; as many others join
    partition: Partition | None = None
    servers: float = 0.05  # share of the nodes that hold the DHT
    seed: int = 0
    shard_depth: int | None = None  # None: what a manifest of a swarm of this size should say
    round_seconds: float = 60.0  # virtual, of a node of mean speed
    epoch_seconds: float = 60.0
    lifetime: float = 600.0  # seconds that an announcement lives
    warm_up: int = 2  # rounds that are played first and not counted

    def __post_init__(self) -> None:
        _within("--nodes", self.nodes, 2, MAX_NODES)
        _within("--rounds", self.rounds, 1, MAX_ROUNDS)
        _within("--bodies", self.bodies, 1, MAX_BODIES)
        _within("--body-size", self.body_size, 1, MAX_BODY, " bytes")
        _within("--latency", self.latency, 0, 10_000)
        _within("--loss", self.loss, 0, 0.9)
        _within("--churn", self.churn, 0, 0.9)
        _within("--servers", self.servers, 0, 1)
        _within("--seed", self.seed, 0, 2**63 - 1)
        _within("--shard-depth", self.depth, 0, MAX_SHARD_DEPTH)
        _within("round_seconds", self.round_seconds, 1, 3600)
        _within("epoch_seconds", self.epoch_seconds, 1, 3600)
        _within("lifetime", self.lifetime, 1, MAX_LIFETIME)
        _within("warm_up", self.warm_up, 0, MAX_ROUNDS)
        if (played := self.nodes * (self.warm_up + self.rounds)) > MAX_NODE_ROUNDS:
            raise ScenarioError(
                f"{played} rounds in all; at most {MAX_NODE_ROUNDS}: lower --nodes or --rounds"
            )
        if self.partition:
            self._check_partition(self.partition)

    @property
    def depth(self) -> int:
        """log2 of the number of shards."""
        return shard_depth(self.nodes) if self.shard_depth is None else self.shard_depth

    @property
    def server_count(self) -> int:
        """DHT servers; never fewer than a look-up visits, as far as there are nodes."""
        return min(self.nodes, max(_MIN_SERVERS, round(self.servers * self.nodes)))

    @property
    def seconds(self) -> float:
        """How long the simulation lasts, virtual, with its warm-up."""
        return (self.warm_up + self.rounds) * self.round_seconds

    @property
    def counted_from(self) -> float:
        """The virtual second at which counting begins."""
        return self.warm_up * self.round_seconds

    def _check_partition(self, partition: Partition) -> None:
        if not 0 <= partition.start < partition.end < self.seconds:
            raise ScenarioError(
                f"--partition {partition.start:g}:{partition.end:g} does not lie within the"
                f" {self.seconds:g} seconds of {self.warm_up} + {self.rounds} rounds of {self.round_seconds:g} s:"
                " move it, or raise --rounds"
            )


def shard_depth(nodes: int) -> int:
    """What the manifest of a swarm of `nodes` should say: about 24 announcements a shard, 0 for small swarms."""
    return max(0, round(math.log2(nodes / SHARD_MEMBERS)))


def _within(option: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Whole numbers are told whole: nobody types 4.1943e+06."""
    if not low <= value <= high:  # NaN fails both
        raise ScenarioError(f"{option} {_told(value)}: give {_told(low)} to {_told(high)}{unit}")


def _told(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
