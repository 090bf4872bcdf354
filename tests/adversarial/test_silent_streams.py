"""Streams that ask nothing, ask and do not read, or bring a byte a second: who speaks is served all the same."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest
from announcing import MANIFEST, NOW, announce
from hivemind.p2p import PeerID

from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.errors import FetchFailed
from swarm.exchange import framing, stream_slots
from swarm.exchange.autonat import DialBackServer
from swarm.exchange.body_exchange import BodyExchange
from swarm.exchange.body_store import MirrorStore, ServeLimits
from swarm.exchange.framing import Status, Stream, encode_request, read_frame, write_frame
from swarm.exchange.peer_stats import NodeStats, StatsServer
from swarm.exchange.push_mirror import MirrorServer, push
from swarm.exchange.stream_slots import StreamSlots
from swarm.limits import MAX_BODY, MAX_STATS
from swarm.network.p2p_daemon import Daemon
from swarm.wire.identity import Identity, peer_bytes
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address

ALICE, BOB = Identity(bytes([1]) * 32), Identity(bytes([2]) * 32)
SWARM = MANIFEST.swarm_id
OWN = Membership.of(MANIFEST, b"", ALICE.peer_id)
BODY = random.Random(1).randbytes(60_000)
DIGEST = hashlib.sha256(BODY).digest()
SYBILS, STREAMS = 20, 4

Serve = Callable[[str, Stream, str], Awaitable[None]]


async def pair() -> tuple[Stream, Stream]:
    left, right = socket.socketpair()
    return await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right)


def exchange() -> BodyExchange:
    store = AnnouncementStore(AnnouncementFilter(MANIFEST, clock=lambda: NOW), ALICE.peer_id)
    served = BodyExchange(OWN, ServeLimits(), store)
    served.bodies.put_own(DIGEST, BODY)
    return served


def servers() -> dict[str, tuple[dict[str, int], Serve, Callable[[Stream], Awaitable[object]]]]:
    """Of each server its counters, how it serves a stream, and one honest request that has to succeed."""
    fetching, mirror, reach = exchange(), MirrorServer(OWN, MirrorStore(2**20)), DialBackServer(OWN)
    stats = StatsServer(SWARM, lambda: NodeStats("2", 1.0, 1, 1, "tiny", 0, ()))

    async def fetch(stream: Stream) -> object:
        await write_frame(stream[1], Status.OK, encode_request(SWARM, DIGEST, b""))
        return (await read_frame(stream[0], MAX_BODY))[0] is Status.OK

    async def look(stream: Stream) -> object:
        await write_frame(stream[1], Status.OK, encode_request(SWARM, b"", [1]))
        return (await read_frame(stream[0], 256))[0] is Status.OK

    async def figures(stream: Stream) -> object:
        await write_frame(stream[1], Status.OK, encode_request(SWARM, b""))
        return (await read_frame(stream[0], MAX_STATS))[0] is Status.OK

    bring = lambda stream: push(stream, Membership.of(MANIFEST, b"", BOB.peer_id), BODY)  # noqa: E731
    there = lambda peer, stream, host: reach.serve(peer, Address("ip4", host, 1), *stream)  # noqa: E731
    return {
        "fetch": (fetching.counters, lambda peer, s, host: fetching.serve(peer, *s, host), fetch),
        "push": (mirror.counters, lambda peer, s, host: mirror.serve(peer, *s, host), bring),
        "reach": (reach.counters, there, look),
        "stats": (stats.counters, lambda peer, s, host: stats.serve(peer, *s, host), figures),
    }


@pytest.mark.parametrize("kind", ["fetch", "push", "reach", "stats"])
@pytest.mark.parametrize("same_host", [True, False])
def test_silent_streams_take_no_slot_of_those_who_ask(kind: str, same_host: bool) -> None:
    counters, serve, ask = servers()[kind]

    async def scenario() -> object:
        kept, tasks = [], []
        for number in range(SYBILS * STREAMS):
            ours, theirs = await pair()
            kept.append(ours)
            host = "127.0.0.9" if same_host else f"127.0.{number}.9"
            tasks.append(asyncio.create_task(serve(f"sybil{number % SYBILS}", theirs, host)))
        await asyncio.sleep(0.05)
        ours, theirs = await pair()
        answering = asyncio.create_task(serve(BOB.peer_id, theirs, "127.0.0.1"))
        answered = await ask(ours)
        still = sum(not task.done() for task in tasks)
        assert still <= (stream_slots.MAX_UNREAD_OF_HOST if same_host else stream_slots.MAX_UNREAD)
        assert counters["silent_streams"] == SYBILS * STREAMS - still
        for _, writer in (*kept, ours):
            writer.close()
        await asyncio.gather(*tasks, answering)
        return answered

    assert asyncio.run(scenario()) is True


def test_a_silent_stream_is_closed_within_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_slots, "REQUEST_TIMEOUT", 0.05)
    counters, serve, _ = servers()["fetch"]

    async def scenario() -> bytes:
        ours, theirs = await pair()
        await serve(BOB.peer_id, theirs, "127.0.0.1")
        left = await ours[0].read()
        ours[1].close()
        return left

    assert asyncio.run(scenario()) == b""
    assert counters == {"silent_streams": 1, "serve_failed": 1}


def test_slots_are_kept_for_known_peers_and_shared_between_hosts() -> None:
    slots = StreamSlots(16, 4, exchange().counters, is_known=lambda peer: peer.startswith("known"))

    def granted(peer: str, host: str) -> bool:
        return held.enter_context(slots.answering(peer, host))

    with ExitStack() as held:
        assert [granted(f"sybil{n}", "203.0.113.1") for n in range(6)] == [True] * 4 + [False] * 2
        assert [granted(f"other{n}", f"203.0.{n}.1") for n in range(6)] == [True] * 4 + [False] * 2
        assert [granted("known", "203.0.113.1") for _ in range(6)] == [True] * 4 + [False] * 2
        assert [granted(f"known{n}", "203.0.113.1") for n in range(6)] == [True] * 4 + [False] * 2
    with slots.answering("sybil0", "203.0.113.1") as again:
        assert again


@pytest.mark.parametrize("silent", [b"", b"\0"], ids=["nothing", "a drip"])
def test_a_fetch_from_who_drips_ends_long_before_the_stream_would(
    monkeypatch: pytest.MonkeyPatch, silent: bytes
) -> None:
    monkeypatch.setattr(framing, "GRACE", 0.1)
    monkeypatch.setattr("swarm.exchange.body_exchange._ANSWER_TIMEOUT", 0.1)
    bob = exchange()
    kept = []

    async def dial(peer: str, addresses: object) -> Stream:
        ours, theirs = await pair()
        kept.append(asyncio.create_task(drip(theirs[1])))
        return ours

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(framing.HEADER.pack(0, MAX_BODY) if silent else b"")
        while True:
            writer.write(silent)
            await asyncio.sleep(0.01)

    async def fetch() -> None:
        with pytest.raises(FetchFailed, match="TimeoutError"):  # of a whole stream it would be "in time"
            await bob.fetch(announce(BOB, digest=bytes(32), size=MAX_BODY), dial)
        kept[0].cancel()

    asyncio.run(fetch())
    assert bob.counters == {"fetch_failed": 1}


def test_a_flood_of_pushes_from_a_few_addresses_leaves_room_for_others() -> None:
    store, full = MirrorStore(32 * 2**20), bytes(MAX_BODY)
    took = [store.put(f"sybil{n}", bytes([n]) * 32, full, "203.0.113.1") for n in range(16)]
    assert sum(took) == 4  # half of the store, while nobody else has anything in it
    assert store.put("honest", b"h" * 32, full, "198.51.100.1")
    assert not store.put("honest2", b"i" * 32, full, "198.51.100.1"), "a host: an eighth"
    assert store.put("honest2", b"i" * 32, full, "198.51.100.2")
    assert not store.put("honest3", b"j" * 32, full, "198.51.100.3"), "a subnet: a quarter"
    assert store.put("honest3", b"j" * 32, full, "198.51.99.3")


def test_a_peer_that_opens_streams_without_end_loses_its_connection_and_nobody_else_does() -> None:
    class P2p:
        """Hands out the handler as hivemind would call it, and notes who is disconnected."""

        def __init__(self) -> None:
            self.left: list[PeerID] = []
            self._client = SimpleNamespace(disconnect=self._disconnect)

        async def _disconnect(self, peer: PeerID) -> None:
            self.left.append(peer)

        async def add_binary_stream_handler(self, protocol: str, handler: Any) -> None:
            self.handler = handler

    async def run() -> tuple[Counter[str], list[PeerID], Counter[str]]:
        p2p, served = P2p(), Counter[str]()
        daemon = Daemon(cast(Any, p2p), cast(Any, None))

        async def serve(
            peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str
        ) -> None:
            served[peer] += 1

        await daemon.serve("/murmur/any/1", serve)
        closing = SimpleNamespace(close=lambda: None)
        for number in range(1000):
            sender = BOB if number % 50 == 0 else ALICE
            info = SimpleNamespace(peer_id=PeerID(peer_bytes(sender.peer_id)), addr="/ip4/192.0.2.1/tcp/4001")
            await p2p.handler(info, None, closing)
        return daemon.counters, p2p.left, served

    counters, left, served = asyncio.run(run())
    assert served[BOB.peer_id] == 20 and served[ALICE.peer_id] < 200
    assert counters["stream_rate"] == len(left) == 980 - served[ALICE.peer_id]
    assert set(map(str, left)) == {ALICE.peer_id}
