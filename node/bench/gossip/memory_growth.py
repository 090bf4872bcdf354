"""`bench gossip --case memory`: whether a node's memory stays flat over hundreds of rounds.

Nodes as a trainer starts them, each with a transport process and a daemon, exchange small and large bodies.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import psutil

from node.bench.kit.identities import keep_seeded_key
from node.bench.kit.report import Check, Progress, Row
from policies.seeds import derive_generator
from policies.tasks.task import TaskSpec
from swarm.errors import FetchFailed, TransportDown, TransportError
from swarm.exchange.body_store import ServeLimits
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.announcement import Summary, TaskSummary
from swarm.wire.manifest import Manifest

NODES = 3
ROUNDS, SAMPLED_EVERY = 500, 50
SETTLED = 100  # rounds after which memory has to stay
CEILING = 1.15
LARGE, SMALL = 100_000, 1_000  # bytes of a body; every third one is small
STORED = 2 * 2**20  # bytes of bodies that a node keeps: full after some ten rounds

_START_SECONDS = 120.0
_MIB = 2**20
_MANIFEST = Manifest("bench", (TaskSpec("sort"),))
_CLAIMS = (TaskSummary("sort@1", 64, 0.5),)


@dataclass(frozen=True, slots=True)
class Resident:
    """What one node takes: its transport process and its daemon, in bytes."""

    transport: int
    daemon: int

    @property
    def total(self) -> int:
        return self.transport + self.daemon


@dataclass(frozen=True, slots=True)
class MemorySample:
    """All nodes after so many rounds."""

    round: int
    nodes: tuple[Resident, ...]
    fetched: int  # bodies by all nodes since the start
    failed: int  # fetches and publications


def watch(seed: int, progress: Progress) -> Iterator[MemorySample]:
    """Plays ROUNDS rounds; gives a look every SAMPLED_EVERY. Raises TransportDown when a node does not start."""
    with tempfile.TemporaryDirectory(prefix="murmur-bench-") as folder, ExitStack() as stack:
        transports: list[DhtTransport] = []
        for index in range(NODES):
            bootstrap = transports[0].status().addresses if transports else ()
            settings = DhtSettings(_MANIFEST, bootstrap, serve=ServeLimits(stored=STORED))
            key = Path(folder) / f"{index}.key"
            keep_seeded_key(key, seed, "memory", index)
            transport = DhtTransport(settings, key)
            transports.append(stack.enter_context(closing(transport)))
            transport.wait_ready(_START_SECONDS)
        failed = 0
        for number in range(1, ROUNDS + 1):
            failed += _play(transports, number, seed)
            if number % SAMPLED_EVERY == 0:
                progress(f"memory: round {number} of {ROUNDS}")
                fetched = sum(t.status().counters.get("fetched", 0) for t in transports)
                yield MemorySample(number, tuple(map(resident, transports)), fetched, failed)


def resident(transport: DhtTransport) -> Resident:
    """Raises TransportDown when the transport has no process now."""
    if transport.pid is None:
        raise TransportDown(transport.status().detail)
    process = psutil.Process(transport.pid)
    daemons = process.children(recursive=True)
    return Resident(process.memory_info().rss, sum(daemon.memory_info().rss for daemon in daemons))


def rows_of(samples: Sequence[MemorySample]) -> Iterator[Row]:
    """One row a look: the mean node."""
    for sample in samples:
        count = len(sample.nodes)
        yield {
            "case": "memory",
            "round": sample.round,
            "nodes": count,
            "transport_mib": sum(node.transport for node in sample.nodes) / count / _MIB,
            "daemon_mib": sum(node.daemon for node in sample.nodes) / count / _MIB,
            "fetched": sample.fetched,
            "failed": sample.failed,
        }


def checks_of(samples: Sequence[MemorySample]) -> list[Check]:
    """Once the last round is over: each node's growth since it had settled."""
    by_round = {sample.round: sample.nodes for sample in samples}
    if SETTLED not in by_round or ROUNDS not in by_round:
        return []
    pairs = zip(by_round[SETTLED], by_round[ROUNDS], strict=True)
    growth = [late.total / early.total for early, late in pairs]
    return [Check.of("memory_500", growth, ceiling=CEILING)]


def _play(transports: Sequence[DhtTransport], number: int, seed: int) -> int:
    """Everybody publishes and fetches what the others have. Returns how many calls failed."""
    failed = 0
    for index, transport in enumerate(transports):
        size = LARGE if (number + index) % 3 else SMALL
        body = derive_generator(seed, "bench", "memory", number, index).bytes(size)
        try:
            transport.publish(body, Summary(number, number, "bench", 8, 64, _CLAIMS))
        except TransportError:
            failed += 1
    return failed + sum(map(_fetch_all, transports))


def _fetch_all(transport: DhtTransport) -> int:
    """Returns how many calls failed."""
    failed = 0
    try:
        for announcement in transport.announcements(NODES):
            try:
                transport.fetch(announcement)
            except FetchFailed:
                failed += 1
    except TransportDown:
        failed += 1
    return failed
