"""Dialling back: what a peer finds, whom it refuses, and what a node concludes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress

import msgpack
import pytest
from announcing import MANIFEST

from swarm import limits
from swarm.errors import FetchFailed
from swarm.exchange.autonat import DialBackServer, Reachability, Sighting, ask, probe_reachability
from swarm.exchange.framing import Status, Stream, read_frame, write_frame
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address

ALICE = Identity(bytes(32)).peer_id
OWN = Membership.of(MANIFEST, b"", ALICE)
HOME = Address("ip4", "127.0.0.1", 50_000)
GREETING = b"\x13/multistream/1.0.0\n"
SWARM, VERSION = MANIFEST.swarm_id, limits.PROTOCOL_VERSION


async def listener(says: bytes) -> tuple[asyncio.Server, int]:
    """A server on loopback that greets with `says`."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


class Peer:
    """Answers with one server and sees the caller at `place`."""

    def __init__(self, place: Address | None) -> None:
        self._desk, self._place = DialBackServer(OWN), place
        self._serving: set[asyncio.Task[None]] = set()

    async def dial(self, peer: str = "", addresses: Sequence[str] = ()) -> Stream:
        left, right = socket.socketpair()
        ours = await asyncio.open_connection(sock=left)
        theirs = await asyncio.open_connection(sock=right)
        self._serving.add(asyncio.create_task(self._desk.serve(ALICE, self._place, *theirs)))
        return ours


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_only_ports_with_a_libp2p_host_behind_them_count() -> None:
    async def run() -> tuple[Sighting | None, int]:
        (node, port), (web, other) = (
            await listener(GREETING),
            await listener(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        )
        async with node, web:
            stream = await Peer(HOME).dial()
            return await ask(stream, OWN, [port, other, closed_port()]), port

    sighting, port = asyncio.run(run())
    assert sighting == Sighting("127.0.0.1", (port,))


def test_a_peer_that_asks_too_often_or_over_a_relay_is_not_dialled() -> None:
    async def run() -> list[Sighting | None]:
        port = closed_port()
        often, relayed = Peer(HOME), Peer(None)
        answers = [await ask(await often.dial(), OWN, [port]) for _ in range(4)]
        return [*answers, await ask(await relayed.dial(), OWN, [port])]

    nothing = Sighting("127.0.0.1", ())
    assert asyncio.run(run()) == [nothing, nothing, nothing, None, None]


@pytest.mark.parametrize(
    "question",
    [
        [VERSION, SWARM, b"", [], []],
        [VERSION, SWARM, b"", [0], []],
        [VERSION, SWARM, b"", [65536], []],
        [VERSION, SWARM, b"", ["22"], []],
        [VERSION, SWARM, b"", [1, 2, 3, 4, 5], []],
        [VERSION, "elsewhere", b"", [4001], []],
        [VERSION, SWARM, "token", [4001], []],
        {"ports": 1},
    ],
)
def test_bad_questions_get_no_answer(question: object) -> None:
    async def run() -> bytes:
        reader, writer = await Peer(HOME).dial()
        await write_frame(writer, Status.OK, msgpack.packb(question))
        answer = await reader.read()
        writer.close()
        return answer

    assert asyncio.run(run()) == b""


def test_an_answer_cannot_claim_ports_that_were_not_asked_for() -> None:
    async def run() -> Sighting | None:
        left, right = socket.socketpair()
        ours = await asyncio.open_connection(sock=left)
        reader, writer = await asyncio.open_connection(sock=right)
        await write_frame(writer, Status.OK, msgpack.packb(["203.0.113.7", [22, 4001], []]))
        sighting = await ask(ours, OWN, [4001])
        await read_frame(reader, limits.MAX_REQUEST)
        writer.close()
        return sighting

    assert asyncio.run(run()) == Sighting("203.0.113.7", (4001,))


def test_one_peer_that_gets_through_is_enough_and_silence_says_nothing() -> None:
    peers = [Address("ip4", "45.0.0.1", n, Identity(bytes([n]) * 32).peer_id) for n in (1, 2, 3)]

    async def run(greeting: bytes, reachable: int) -> Reachability:
        server, port = await listener(greeting)
        asked = Peer(HOME)

        async def dial(peer: str, addresses: Sequence[str]) -> Stream:
            if peer not in [p.peer for p in peers[:reachable]]:
                raise FetchFailed("cannot be reached")
            return await asked.dial()

        async with server:
            return await probe_reachability(peers, OWN, [port], dial)

    assert asyncio.run(run(GREETING, 1)) is Reachability.OPEN
    assert asyncio.run(run(b"", 2)) is Reachability.HIDDEN
    assert asyncio.run(run(GREETING, 0)) is Reachability.UNKNOWN
