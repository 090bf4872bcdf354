"""The plan of one swarm of `bench gossip`, and the figures of its rounds. Plain data between two processes."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from policies.plain_files import parse_json

OURS, REFERENCE = "ours", "reference"
SIDES = (OURS, REFERENCE)
FETCHED = 4  # bodies that a node of ours fetches in a round: J
RECORDS_PER_SHARD = 24
UNSHARDED = 40  # nodes up to which one shard does

_IN_FLIGHT = 0.3  # seconds until what was sent has been received and counted


@dataclass(frozen=True, slots=True)
class SwarmPlan:
    """One swarm: so many nodes, each with a fresh body of `size` bytes in every round."""

    case: str
    side: str
    nodes: int
    size: int
    seed: int
    rounds: int  # measured
    settling: int = 1  # rounds before them: connections are made and directories fill
    at_once: int = 8  # nodes that talk at a time
    patience: float = 3.0  # seconds that a DHT node waits for another; ours always waits 3
    message_limit: int = 4 * 2**20  # hivemind's, in bytes; ours never changes it

    @property
    def fetched(self) -> int:
        """Bodies that a node of ours fetches in a round, J, as far as there are others."""
        return min(FETCHED, self.nodes - 1)

    @property
    def wanted(self) -> int:
        """Bodies that a node of this side wants in a round: J, or in the reference everybody else's."""
        return self.fetched if self.side == OURS else self.nodes - 1

    @property
    def shard_depth(self) -> int:
        """As the manifest of a swarm of this size would say."""
        return 0 if self.nodes <= UNSHARDED else round(math.log2(self.nodes / RECORDS_PER_SHARD))

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> SwarmPlan:
        return cls(**parse_json(text))


@dataclass(frozen=True, slots=True)
class SwarmRound:
    """One measured round of a whole swarm."""

    seconds: float  # in which all nodes were through
    received: dict[str, int]  # bytes on the loopback, by what they were for: announce, read, fetch
    got: tuple[int, ...]  # verified bodies of others, by node
    failures: int  # calls that ended in an error
    lag: float = 0.0  # rounds that a delivered body was old, on average

    def bytes_per_node(self, verb: str | None = None) -> float:
        """Sent equals received: what one node takes in is also what it gives out."""
        total = sum(self.received.values()) if verb is None else self.received.get(verb, 0)
        return total / len(self.got)

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> SwarmRound:
        values = parse_json(text)
        return cls(**values | {"got": tuple(values["got"])})


@dataclass(slots=True)
class Meter:
    """Seconds and bytes of one round, phase by phase."""

    received: Callable[[], int]  # bytes on the loopback so far
    clock: Callable[[], float] = time.perf_counter
    seconds: float = 0.0
    by_verb: dict[str, int] = field(default_factory=dict)
    _bytes: int = 0
    _since: float = 0.0

    def start(self) -> None:
        self._bytes, self._since = self.received(), self.clock()

    async def lap(self, verb: str) -> None:
        """Ends a phase. Waits for what is under way, which costs bytes and no seconds."""
        self.seconds += self.clock() - self._since
        await asyncio.sleep(_IN_FLIGHT)
        self.by_verb[verb] = self.by_verb.get(verb, 0) + self.received() - self._bytes
        self.start()
