"""`bench gossip`, the reference pattern: every node stores its whole body under the round's one DHT key, and reads
everybody's. Written for the comparison; hivemind's caching stays as it is by default. Imports hivemind.

The reference reads again and again until it has seen everybody. Here all have stored before anybody reads, and each
reads once: the fewest bytes that the pattern can do with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import TypeVar

from hivemind.dht.node import DHTNode
from hivemind.p2p import P2P
from hivemind.utils import get_dht_time

from node.bench.gossip.swarm_plan import Meter, SwarmPlan, SwarmRound
from node.bench.kit.identities import keep_seeded_key
from policies.seeds import derive_generator

T = TypeVar("T")

_LISTEN = ["/ip4/127.0.0.1/tcp/0"]
_START_SECONDS = 120.0
_STARTED_AT_ONCE = 4
_STOP_SECONDS = 3.0
_LIFETIME = 600.0  # seconds
_BEAM = 10  # as the reference's launcher sets it


class ReferenceNode:
    """A DHT node on a daemon of its own."""

    def __init__(self, p2p: P2P) -> None:
        self.p2p = p2p
        self.name = p2p.peer_id.to_base58()
        self.node: DHTNode | None = None

    async def join(self, bootstrap: list[str] | None, patience: float) -> None:
        self.node = await DHTNode.create(p2p=self.p2p, initial_peers=bootstrap, wait_timeout=patience)

    async def store(self, key: str, body: bytes) -> bool:
        assert self.node
        expires = get_dht_time() + _LIFETIME
        return bool(await self.node.store(key, body, expires, subkey=self.name, beam_size=_BEAM))

    async def read(self, key: str) -> dict[str, bytes]:
        """What this reader sees of everybody's bodies, by their publishers' names."""
        assert self.node
        found = await self.node.get(key, latest=True, beam_size=_BEAM)
        if found is None or not isinstance(found.value, dict):
            return {}
        return {name: entry.value for name, entry in found.value.items()}

    async def stop(self) -> None:
        if self.node:
            self.node.is_alive = False
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.p2p.shutdown()
        except TimeoutError:
            self.p2p._child.kill()


class ReferenceSwarm:
    def __init__(self, plan: SwarmPlan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._nodes: list[ReferenceNode] = []
        self._limit = asyncio.Semaphore(plan.at_once)

    async def start(self) -> None:
        """All join through the first."""
        first = await self._join(0, None)
        addresses = [str(address) for address in await first.p2p.get_visible_maddrs()]
        limit = asyncio.Semaphore(_STARTED_AT_ONCE)

        async def join(index: int) -> None:
            async with limit:
                await self._join(index, addresses)

        await asyncio.gather(*(join(index) for index in range(1, self._plan.nodes)))

    async def play(self, number: int, meter: Meter) -> SwarmRound:
        """All store, then all read."""
        key = str(number)
        bodies = {
            node.name: derive_generator(self._plan.seed, "bench", "gossip", number, index).bytes(
                self._plan.size
            )
            for index, node in enumerate(self._nodes)
        }
        meter.start()
        stored = await self._all(node.store(key, bodies[node.name]) for node in self._nodes)
        await meter.lap("announce")
        seen = await self._all(node.read(key) for node in self._nodes)
        await meter.lap("read")
        return SwarmRound(
            seconds=meter.seconds,
            received=meter.by_verb,
            got=tuple(
                _others(bodies, bodies_seen, n.name) for n, bodies_seen in zip(self._nodes, seen, strict=True)
            ),
            failures=stored.count(False),
        )

    async def stop(self) -> None:
        """Ends every daemon that was started."""
        await asyncio.gather(*(node.stop() for node in self._nodes))

    async def _join(self, index: int, bootstrap: list[str] | None) -> ReferenceNode:
        key = self._folder / f"{index}.key"
        keep_seeded_key(key, self._plan.seed, "reference", index)
        p2p = await P2P.create(
            initial_peers=bootstrap,
            identity_path=str(key),
            check_if_identity_free=False,  # hivemind's check parses RSA keys only
            host_maddrs=_LISTEN,
            startup_timeout=_START_SECONDS,
            persistent_conn_max_msg_size=self._plan.message_limit,
        )
        node = ReferenceNode(p2p)
        self._nodes.append(node)
        await node.join(bootstrap, self._plan.patience)
        return node

    async def _all(self, calls: Iterable[Awaitable[T]]) -> list[T]:
        async def limited(call: Awaitable[T]) -> T:
            async with self._limit:
                return await call

        return await asyncio.gather(*(limited(call) for call in calls))


def _others(bodies: dict[str, bytes], seen: dict[str, bytes], own: str) -> int:
    """How many of others' bodies were seen whole."""
    return sum(seen.get(name) == body for name, body in bodies.items() if name != own)
