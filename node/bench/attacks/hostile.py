"""`python -m node.bench.attacks.hostile PLAN`: attacks a swarm until its standard input is closed. Imports hivemind.

Once a second it prints a line of JSON: what it did so far, by kind.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import numpy as np

from node.bench.attacks.hostile_bootstrap import BEHAVIOURS, Liar
from node.bench.attacks.hostile_dht import ground_identities, install_lies, store_everywhere
from node.bench.attacks.plan import CASES, VICTIM, AttackPlan
from policies.seeds import derive_generator
from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.errors import DecodeError, FetchFailed
from swarm.exchange.announcement_exchange import ask_announcements
from swarm.exchange.framing import HEADER, Status
from swarm.limits import ANNOUNCEMENTS_PROTOCOL, FETCH_PROTOCOL, MAX_ADDRESSES, MAX_LIFETIME
from swarm.network import dht_protocol
from swarm.network.dht_validator import install_depth_guard
from swarm.network.ipc import DhtSettings
from swarm.network.p2p_daemon import DAEMON_ERRORS, Daemon
from swarm.process import die_with_parent
from swarm.wire.announcement import Announcement, Summary, TaskSummary, epoch_of, shard_key, shard_of
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership

SYBILS = 24  # fresh names of a wave
WAVE_SECONDS = 10.0
STREAMS = 80  # silent ones, a victim and identity
SPEAKERS = 3  # identities that open silent streams
FLOOD = 4000  # names in the shard, an epoch
FLOOD_BATCH = 64  # records of one request: the most that nodes answer
GROUND, GROUND_NODES, GROUND_EPOCHS = 4096, 8, 4  # keys tried, and DHT nodes run, for each epoch to come
_BODY = 100_000  # bytes that are promised


class Attacker:
    """One hostile host: its daemons, and what it has done."""

    def __init__(self, plan: AttackPlan) -> None:
        self.plan, self.done = plan, Counter[str]()
        self.manifest = plan.swarm
        self._generator = derive_generator(plan.seed, "bench", "attacks", plan.case)

    @asynccontextmanager
    async def daemon(self, number: int = 0, identity: Identity | None = None) -> AsyncIterator[Daemon]:
        """A daemon of an own key that has joined the swarm."""
        key = self.plan.key(number)
        if identity or not key.exists():
            (identity or Identity.ephemeral()).save(key)
        place = self.plan.hostile_address(number)
        settings = DhtSettings(self.manifest, self.plan.bootstrap, listen=(place,), start_timeout=120.0)
        daemon = await Daemon.start(settings, key, self.plan.bootstrap, AnnouncementFilter(self.manifest))
        try:
            yield daemon
        finally:
            await daemon.stop()

    def record(self, identity: Identity, *addresses: str) -> Announcement:
        """An announcement of a body that there is not."""
        now = time.time()
        epoch = epoch_of(now, self.manifest.epoch_seconds)
        depth = self.manifest.shard_depth
        claims = (TaskSummary("sort@1", 8, 0.5),)
        return Announcement(
            self.manifest.swarm_id,
            epoch,
            depth,
            shard_of(identity.peer_id, epoch, depth),
            identity.peer_id,
            now,
            now + MAX_LIFETIME,
            secrets.token_bytes(32),
            _BODY,
            Summary(1, 1, "bench", 2, 8, claims),
            addresses,
        ).sign(identity)

    def ports(self, count: int) -> list[int]:
        return [int(port) for port in self._generator.choice(np.arange(1024, 60000), count, replace=False)]

    def nowhere(self) -> str:
        """An address that nobody answers at, of another network each time: announcing one costs nothing."""
        first, second, third = (int(n) for n in self._generator.integers(1, 250, 3))
        host = f"127.{first}.{second}.{third}" if self.plan.private else f"81.{first}.{second}.{third}"
        return f"/ip4/{host}/tcp/{int(self._generator.integers(1024, 60000))}"


async def dead_announcements(attacker: Attacker) -> None:
    """Waves of fresh names announce bodies at addresses, each of another network, where nobody is."""
    async with attacker.daemon() as daemon:
        while True:
            for _ in range(SYBILS):
                await _announce(attacker, daemon, attacker.nowhere())
            await asyncio.sleep(WAVE_SECONDS)


async def slow_bodies(attacker: Attacker) -> None:
    """Waves of fresh names announce bodies that this host serves at one byte a second."""

    async def serve(peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        attacker.done["slow_streams"] += 1
        writer.write(HEADER.pack(Status.OK, _BODY))
        with suppress(*DAEMON_ERRORS):
            while True:
                writer.write(b"\0")
                await writer.drain()
                await asyncio.sleep(1.0)

    identity = Identity.ephemeral()
    async with attacker.daemon(identity=identity) as daemon:
        await daemon.serve(FETCH_PROTOCOL, serve)
        while True:
            for _ in range(SYBILS):
                await _announce(attacker, daemon, f"{attacker.plan.listen}/p2p/{identity.peer_id}")
            await asyncio.sleep(WAVE_SECONDS)


async def silent_streams(attacker: Attacker) -> None:
    """SPEAKERS names hold STREAMS streams to each node's body server, and say nothing on them."""

    async def hold(daemon: Daemon, peer: str, address: str) -> None:
        while True:
            try:
                (reader, writer), _ = await daemon.dial(FETCH_PROTOCOL, peer, [address])
            except FetchFailed:
                await asyncio.sleep(1.0)
                continue
            attacker.done["silent_streams"] += 1
            with suppress(*DAEMON_ERRORS):
                await reader.read(1)
            writer.close()

    async def speak(number: int) -> None:
        async with attacker.daemon(number) as daemon:
            victims = list(attacker.plan.victims.items())
            await asyncio.gather(*(hold(daemon, *victim) for victim in victims for _ in range(STREAMS)))

    await asyncio.gather(*(speak(number) for number in range(SPEAKERS)))


async def storage_flood(attacker: Attacker) -> None:
    """Thousands of fresh names announce in the shard of each epoch, straight at every node."""
    async with attacker.daemon() as daemon:
        while True:
            epoch = epoch_of(time.time(), attacker.manifest.epoch_seconds)
            for _ in range(FLOOD // FLOOD_BATCH):
                records = [
                    attacker.record(Identity.ephemeral(), attacker.nowhere()) for _ in range(FLOOD_BATCH)
                ]
                attacker.done["flood_records"] += await store_everywhere(daemon, records)
                await asyncio.sleep(0.1)
            while epoch_of(time.time(), attacker.manifest.epoch_seconds) == epoch:
                await asyncio.sleep(1.0)


async def eclipse(attacker: Attacker) -> None:
    """DHT nodes with ground keys sit down nearest to the keys of the epochs to come, take all and give nothing."""
    install_lies()
    first = epoch_of(time.time(), attacker.manifest.epoch_seconds)
    async with asyncio.TaskGroup() as group:
        for place in range(GROUND_EPOCHS):
            key = shard_key(attacker.manifest.swarm_id, first + place, attacker.manifest.shard_depth, 0)
            nearest = await asyncio.to_thread(ground_identities, key, GROUND, GROUND_NODES)
            for number, identity in enumerate(nearest):
                group.create_task(_sit(attacker, GROUND_NODES * place + number, identity))


async def dial_bomb(attacker: Attacker) -> None:
    """Waves of fresh names announce bodies at three ports each of one host that has nothing to do with any of it."""
    async with attacker.daemon() as daemon:
        while True:
            for _ in range(SYBILS):
                ports = attacker.ports(MAX_ADDRESSES)
                await _announce(attacker, daemon, *(f"/ip4/{VICTIM}/tcp/{port}" for port in ports))
            await asyncio.sleep(WAVE_SECONDS)


async def outsiders(attacker: Attacker) -> None:
    """Without the secret of a private swarm: sits in its DHT, takes all and gives nothing, and floods its shards."""
    async with asyncio.TaskGroup() as group:
        group.create_task(eclipse(attacker))
        group.create_task(_ask_for_bodies(attacker))
        async with attacker.daemon(GROUND_NODES * GROUND_EPOCHS) as daemon:
            while True:
                records = [attacker.record(Identity.ephemeral(), attacker.nowhere()) for _ in range(8)]
                attacker.done["flood_taken"] += await store_everywhere(daemon, records)
                attacker.done["flood_records"] += len(records)
                await asyncio.sleep(1.0)


async def hostile_bootstrap(attacker: Attacker) -> None:
    """The nodes that joiners were told to join through: LIARS of them, each lying in a way of its own."""

    def crowd() -> list[Announcement]:
        peers = [Identity.ephemeral() for _ in range(SYBILS)]
        return [attacker.record(peer, attacker.nowhere()) for peer in peers]

    def count(what: str) -> None:
        attacker.done[what] += 1

    liar = Liar(crowd, count)
    liar.install()  # before the first daemon: it registers its handlers as it finds them

    async def lie(number: int, behaviour: str) -> None:
        async with attacker.daemon(number) as daemon:
            await liar.take_up(daemon, behaviour)
            count("liars")
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        for number, behaviour in enumerate(BEHAVIOURS):
            group.create_task(lie(number, behaviour))


async def _ask_for_bodies(attacker: Attacker) -> None:
    """Asks every node for bodies and announcements, as a member would but without a token."""
    own = Membership(attacker.manifest.swarm_id, b"", b"")
    async with attacker.daemon(GROUND_NODES * GROUND_EPOCHS + 1) as daemon:
        while True:
            for peer, address in attacker.plan.victims.items():
                with suppress(FetchFailed, DecodeError, *DAEMON_ERRORS):
                    stream, _ = await daemon.dial(ANNOUNCEMENTS_PROTOCOL, peer, [address])
                    attacker.done["asked"] += 1
                    told = await ask_announcements(stream, own, 0.0)
                    attacker.done["told"] += len(told or ())
            await asyncio.sleep(1.0)


async def _sit(attacker: Attacker, number: int, identity: Identity) -> None:
    async with attacker.daemon(number, identity):
        attacker.done["ground_nodes"] += 1
        await asyncio.Event().wait()


async def _announce(attacker: Attacker, daemon: Daemon, *addresses: str) -> None:
    with suppress(*DAEMON_ERRORS):
        stored = await daemon.store(attacker.record(Identity.ephemeral(), *addresses))
        attacker.done["announced" if stored else "not_taken"] += 1


ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = dict(
    zip(
        CASES,
        (
            dead_announcements,
            slow_bodies,
            silent_streams,
            storage_flood,
            eclipse,
            dial_bomb,
            outsiders,
            hostile_bootstrap,
        ),
        strict=True,
    )
)


async def attack(plan: AttackPlan) -> None:
    """Until the parent hangs up. Raises what ends the attack before."""
    attacker = Attacker(plan)
    attacking = asyncio.ensure_future(ATTACKS[plan.case](attacker))
    hung_up = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    telling = asyncio.ensure_future(_tell(attacker))
    await asyncio.wait({attacking, hung_up}, return_when=asyncio.FIRST_COMPLETED)
    for task in (attacking, telling):
        task.cancel()
    await asyncio.gather(attacking, telling, return_exceptions=True)
    if attacking.done() and not attacking.cancelled():
        attacking.result()


async def _tell(attacker: Attacker) -> None:
    while True:
        sys.stdout.write(json.dumps(attacker.done) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(1.0)


def main() -> None:
    die_with_parent()
    install_depth_guard()
    dht_protocol.install()
    asyncio.run(attack(AttackPlan.decode(sys.argv[1])))


if __name__ == "__main__":
    main()
