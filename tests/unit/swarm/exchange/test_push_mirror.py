"""Push mirrors: what a peer that cannot be dialled leaves with others, and what they refuse to keep."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import Sequence

import msgpack
import pytest
from announcing import MANIFEST

from swarm import limits
from swarm.errors import FetchFailed
from swarm.exchange.body_store import MirrorStore
from swarm.exchange.framing import Status, Stream, read_frame, write_frame
from swarm.exchange.push_mirror import WANTED_MIRRORS, Mirrors, MirrorServer, push
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address

BODY = random.Random(1).randbytes(200_000)
DIGEST = hashlib.sha256(BODY).digest()
NATTED = Identity(bytes(32)).peer_id
OWN = Membership.of(MANIFEST, b"", NATTED)


async def pair() -> tuple[Stream, Stream]:
    left, right = socket.socketpair()
    return await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right)


class Keeper:
    """One reachable peer with room for `capacity` bytes."""

    def __init__(self, seed: int, capacity: int = 10**6) -> None:
        self.address = Address("ip4", "45.0.0.1", 4000 + seed, Identity(bytes([seed]) * 32).peer_id)
        self.store = MirrorStore(capacity)
        self.server = MirrorServer(OWN, self.store)


class Town:
    """Dials keepers by name; others cannot be reached."""

    def __init__(self, *keepers: Keeper) -> None:
        self._keepers = {keeper.address.peer: keeper for keeper in keepers}
        self._serving: set[asyncio.Task[None]] = set()
        self.dialled: list[str] = []

    async def dial(self, peer: str, addresses: Sequence[str]) -> Stream:
        self.dialled.append(peer)
        if peer not in self._keepers:
            raise FetchFailed("cannot be reached")
        ours, theirs = await pair()
        self._serving.add(asyncio.create_task(self._keepers[peer].server.serve(NATTED, *theirs)))
        return ours


def bring(keepers: Sequence[Keeper], reachable: Sequence[Keeper], body: bytes = BODY) -> tuple[Address, ...]:
    async def run() -> tuple[Address, ...]:
        mirrors = Mirrors(OWN, random.Random(0))
        return await mirrors.keep(body, [k.address for k in keepers], Town(*reachable).dial)

    return asyncio.run(run())


def test_two_of_many_keep_the_body() -> None:
    keepers = [Keeper(seed) for seed in range(1, 6)]
    chosen = bring(keepers, keepers)
    assert len(chosen) == WANTED_MIRRORS
    holding = [k for k in keepers if k.store.get(DIGEST) == BODY]
    assert {k.address for k in holding} == set(chosen)
    assert all(k.server.counters == {"mirrored": 1} for k in holding)


def test_the_dead_and_the_full_are_passed_over() -> None:
    dead, full, good = Keeper(1), Keeper(2, capacity=10), Keeper(3)
    assert bring([dead, full, good], [full, good]) == (good.address,)
    assert full.server.counters == {"push_refused": 1}
    assert bring([dead], []) == ()


def test_the_mirrors_of_last_time_are_asked_first() -> None:
    keepers = [Keeper(seed) for seed in range(1, 9)]

    async def run() -> None:
        mirrors, town = Mirrors(OWN, random.Random(0)), Town(*keepers)
        first = await mirrors.keep(BODY, [k.address for k in keepers], town.dial)
        town.dialled.clear()
        assert await mirrors.keep(BODY[1:], [k.address for k in keepers], town.dial) == first
        assert town.dialled == [a.peer for a in first]

    asyncio.run(run())


async def offer(server: MirrorServer, request: object, body: bytes) -> list[Status]:
    """The statuses that come back for a raw request and body."""
    (reader, writer), theirs = await pair()
    serving = asyncio.create_task(server.serve(NATTED, *theirs))
    statuses: list[Status] = []
    try:
        await write_frame(writer, Status.OK, msgpack.packb(request))
        statuses.append((await read_frame(reader, 0))[0])
        await write_frame(writer, Status.OK, body)
        statuses.append((await read_frame(reader, 0))[0])
    except (EOFError, ConnectionError):
        pass  # the server hung up
    writer.close()
    await serving
    return statuses


SWARM, VERSION = MANIFEST.swarm_id, limits.PROTOCOL_VERSION


@pytest.mark.parametrize(
    ("request_", "body", "statuses"),
    [
        ([VERSION, SWARM, DIGEST, len(BODY), b"", []], BODY, [Status.OK, Status.OK]),
        ([VERSION, SWARM, DIGEST, len(BODY), b"", []], BODY[:-1] + b"x", [Status.OK]),
        ([VERSION, SWARM, DIGEST, len(BODY), b"", []], BODY[:-1], [Status.OK]),
        ([VERSION, SWARM, DIGEST, 10, b"", []], BODY, [Status.OK]),
        ([VERSION, SWARM, DIGEST, limits.MAX_BODY + 1, b"", []], BODY, []),
        ([VERSION, SWARM, DIGEST, 0, b"", []], b"", []),
        ([VERSION, SWARM, b"short", len(BODY), b"", []], BODY, []),
        ([VERSION, "elsewhere", DIGEST, len(BODY), b"", []], BODY, []),
        ([VERSION, SWARM, DIGEST, len(BODY), "token", []], BODY, []),
        ({"push": 1}, BODY, []),
        ([], BODY, []),
    ],
)
def test_only_the_promised_body_is_kept(request_: object, body: bytes, statuses: list[Status]) -> None:
    store = MirrorStore(10**6)
    server = MirrorServer(OWN, store)
    assert asyncio.run(offer(server, request_, body)) == statuses
    kept = len(statuses) == 2
    assert (store.get(DIGEST) is not None) == kept
    assert server.counters == ({"mirrored": 1} if kept else {"push_failed": 1})


def test_one_peer_may_not_bring_more_than_its_allowance() -> None:
    keeper = Keeper(1, capacity=10**9)
    bodies = [bytes([n]) * (limits.MAX_BODY // 2) for n in range(6)]

    async def run() -> list[bool]:
        town = Town(keeper)
        peer = keeper.address.peer or ""
        return [await push(await town.dial(peer, ()), OWN, body) for body in bodies]

    assert asyncio.run(run()) == [True] * 4 + [False] * 2


def test_the_store_keeps_the_two_newest_of_a_peer_and_displaces_nobody() -> None:
    now = [0.0]
    store = MirrorStore(160, clock=lambda: now[0])
    assert store.put("a", b"1", bytes(40)) and store.put("a", b"2", bytes(40))
    assert store.put("a", b"3", bytes(40))
    assert [store.get(d) is not None for d in (b"1", b"2", b"3")] == [False, True, True]
    assert not store.put("b", b"4", bytes(100)), "the store is full: a's bodies stay"
    assert store.put("a", b"3", bytes(40)), "the same body again takes no more room"
    assert store.peers == 1
    now[0] = limits.MAX_LIFETIME + 1.0
    assert store.put("b", b"4", bytes(80)), "what nobody brought again is dropped"
    assert store.get(b"3") is None
