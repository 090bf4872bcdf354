"""`bench gossip`, our side: nodes as they are, each with its daemon, all in one process. Imports hivemind."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Iterable
from pathlib import Path

import numpy as np

from node.bench.gossip.swarm_plan import Meter, SwarmPlan, SwarmRound
from node.bench.kit.identities import keep_seeded_key
from policies.seeds import derive_generator
from policies.tasks.task import TaskSpec
from swarm.errors import TransportDown, TransportError
from swarm.network.ipc import DhtSettings
from swarm.network.supervisor import PeerSupervisor
from swarm.wire.announcement import Announcement, Summary, TaskSummary
from swarm.wire.manifest import Manifest

_START_SECONDS = 120.0  # for one node; daemons start slowly on a busy machine
_STARTED_AT_ONCE = 4
_LOOK = 0.05  # seconds between samples at a node that starts


class OurNode:
    """A node's network and what it has fetched."""

    def __init__(self, network: PeerSupervisor, generator: np.random.Generator) -> None:
        self.network = network
        self.running = asyncio.create_task(network.run())
        self.ages: list[int] = []  # of the bodies of this round, in rounds
        self.failures = 0
        self._generator = generator
        self._fetched: set[bytes] = set()
        self._found: list[Announcement] = []

    async def announce(self, body: bytes, number: int) -> None:
        self.network.keep(body, _summary(number))
        try:
            await self.network.announce()
        except TransportError:
            self.failures += 1

    async def look(self, want: int) -> None:
        try:
            self._found = await self.network.announcements(want)
        except TransportDown:
            self.failures += 1

    async def fetch(self, count: int, number: int) -> None:
        """`count` bodies that were not fetched before, of publishers drawn uniformly."""
        unseen = [a for a in self._found if a.digest not in self._fetched]
        order = self._generator.permutation(len(unseen))[:count]
        self.ages = []
        await asyncio.gather(*(self._fetch_one(unseen[index], number) for index in order))

    async def _fetch_one(self, announcement: Announcement, number: int) -> None:
        try:
            body = await self.network.fetch(announcement)
        except TransportError:
            self.failures += 1
            return
        if hashlib.sha256(body).digest() == announcement.digest:
            self._fetched.add(announcement.digest)
            self.ages.append(number - announcement.summary.round)


class OurSwarm:
    def __init__(self, plan: SwarmPlan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._manifest = Manifest("bench", (TaskSpec("sort"),), shard_depth=plan.shard_depth)
        self._nodes: list[OurNode] = []
        self._limit = asyncio.Semaphore(plan.at_once)

    async def start(self) -> None:
        """All join through the first. Raises TransportDown with the cause when one does not."""
        first = await self._join(0, ())
        limit = asyncio.Semaphore(_STARTED_AT_ONCE)

        async def join(index: int) -> None:
            async with limit:
                await self._join(index, tuple(first.network.state()["addresses"]))

        await asyncio.gather(*(join(index) for index in range(1, self._plan.nodes)))

    async def play(self, number: int, meter: Meter) -> SwarmRound:
        """All announce, then all look, then all fetch."""
        failures = self._failures()
        bodies = [
            derive_generator(self._plan.seed, "bench", "gossip", number, index).bytes(self._plan.size)
            for index in range(self._plan.nodes)
        ]
        meter.start()
        await self._all(n.announce(body, number) for n, body in zip(self._nodes, bodies, strict=True))
        await meter.lap("announce")
        await self._all(node.look(3 * self._plan.wanted) for node in self._nodes)
        await meter.lap("read")
        await self._all(node.fetch(self._plan.wanted, number) for node in self._nodes)
        await meter.lap("fetch")
        ages = [age for node in self._nodes for age in node.ages]
        return SwarmRound(
            seconds=meter.seconds,
            received=meter.by_verb,
            got=tuple(len(node.ages) for node in self._nodes),
            failures=self._failures() - failures,
            lag=sum(ages) / max(1, len(ages)),
        )

    async def stop(self) -> None:
        """Ends every daemon that was started."""
        for node in self._nodes:
            node.running.cancel()
        await asyncio.gather(*(node.running for node in self._nodes), return_exceptions=True)

    async def _join(self, index: int, bootstrap: tuple[str, ...]) -> OurNode:
        settings = DhtSettings(self._manifest, bootstrap)
        generator = derive_generator(self._plan.seed, "bench", "gossip", "choice", index)
        key = self._folder / f"{index}.key"
        keep_seeded_key(key, self._plan.seed, "gossip", index)
        node = OurNode(PeerSupervisor(settings, key), generator)
        self._nodes.append(node)
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not node.network.state()["healthy"]:
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            raise TransportDown(f"node {index} did not start: {node.network.state()['detail']}") from None
        return node

    async def _all(self, calls: Iterable[Awaitable[None]]) -> None:
        async def limited(call: Awaitable[None]) -> None:
            async with self._limit:
                await call

        await asyncio.gather(*(limited(call) for call in calls))

    def _failures(self) -> int:
        return sum(node.failures for node in self._nodes)


def _summary(number: int) -> Summary:
    return Summary(number, number, "bench", 8, 64, (TaskSummary("sort@1", 64, 0.5),))
