"""Nodes of protocols 1 and 2 meet: each side is told in words, and counts it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

import msgpack
import pytest
from announcing import MANIFEST, NOW, announce, unsigned

from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementRefused
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.errors import DecodeError, FetchFailed, OtherVersion
from swarm.exchange.announcement_exchange import AnnouncementServer
from swarm.exchange.autonat import DialBackServer, ask
from swarm.exchange.body_exchange import BodyExchange
from swarm.exchange.body_store import MirrorStore, ServeLimits
from swarm.exchange.framing import Status, Stream, read_frame, write_frame
from swarm.exchange.peer_stats import NodeStats, StatsServer
from swarm.exchange.push_mirror import MirrorServer, push
from swarm.wire.identity import Identity, peer_bytes
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address

ALICE, BOB = Identity(b"a" * 32), Identity(b"b" * 32)
SWARM = MANIFEST.swarm_id
OWN = Membership.of(MANIFEST, b"", ALICE.peer_id)
# As protocol 1 sent them.
OLD = {
    "fetch": [1, SWARM, bytes(32), b""],
    "push": [1, SWARM, bytes(32), 10, b""],
    "reach": [1, SWARM, b"", [4001]],
    "stats": [1, SWARM, b""],
    "announcements": [1, SWARM, 0.0, b""],
}
Serve = Callable[[Stream], Awaitable[None]]


def servers() -> dict[str, tuple[Counter[str], Serve]]:
    store = AnnouncementStore(AnnouncementFilter(MANIFEST, clock=lambda: NOW), ALICE.peer_id)
    exchange = BodyExchange(OWN, ServeLimits(), store)
    mirror, dial_back = MirrorServer(OWN, MirrorStore(100)), DialBackServer(OWN)
    stats = StatsServer(SWARM, lambda: NodeStats("2", 1.0, 1, 1, "tiny", 0, ()))
    telling = AnnouncementServer(OWN, store, lambda: None)
    here = Address("ip4", "127.0.0.1", 1)
    return {
        "fetch": (exchange.counters, lambda stream: exchange.serve(BOB.peer_id, *stream)),
        "push": (mirror.counters, lambda stream: mirror.serve(BOB.peer_id, *stream)),
        "reach": (dial_back.counters, lambda stream: dial_back.serve(BOB.peer_id, here, *stream)),
        "announcements": (telling.counters, lambda stream: telling.serve(BOB.peer_id, *stream)),
        "stats": (stats.counters, lambda stream: stats.serve(BOB.peer_id, *stream)),
    }


async def pair() -> tuple[Stream, Stream]:
    left, right = socket.socketpair()
    return await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right)


@pytest.mark.parametrize("kind", OLD)
@pytest.mark.parametrize("version", [1, 3])
def test_a_request_of_another_version_is_answered_in_words_and_counted(
    kind: str, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    counters, serve = servers()[kind]

    async def run() -> None:
        (reader, writer), theirs = await pair()
        serving = asyncio.create_task(serve(theirs))
        await write_frame(writer, Status.OK, msgpack.packb([version, *OLD[kind][1:]]))
        answer = await reader.read()
        writer.close()
        await serving
        assert answer == bytes.fromhex("03000000029102")

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert counters == {"refused_version": 1}
    assert f"the asking node speaks protocol {version}, this node 2: upgrade" in caplog.text


@pytest.mark.parametrize("kind", ["fetch", "push", "reach"])
def test_who_asks_a_node_of_a_later_version_is_told_so(kind: str) -> None:
    async def answering(theirs: Stream) -> None:
        reader, writer = theirs
        await read_frame(reader, 2048)
        writer.write(bytes.fromhex("03000000029103"))
        await writer.drain()
        writer.close()

    async def run() -> None:
        ours, theirs = await pair()
        other = asyncio.create_task(answering(theirs))
        if kind == "push":
            await push(ours, OWN, b"body")
        elif kind == "reach":
            await ask(ours, OWN, [4001])
        else:
            store = AnnouncementStore(AnnouncementFilter(MANIFEST, clock=lambda: NOW), ALICE.peer_id)

            async def dial(peer: str, addresses: object) -> Stream:
                return ours

            await BodyExchange(OWN, ServeLimits(), store).fetch(announce(BOB), dial)
        await other

    with pytest.raises(
        (OtherVersion, FetchFailed), match="asked node speaks protocol 3, this node 2: upgrade this"
    ):
        asyncio.run(run())


def test_announcements_of_protocol_1_are_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    a = unsigned(BOB.peer_id)
    tasks = [[t.task, t.rollouts, t.mean_reward] for t in a.summary.tasks]
    place = [
        1,
        a.swarm,
        a.epoch,
        a.depth,
        a.shard,
        peer_bytes(a.peer),
        a.created,
        a.expires,
        a.digest,
        a.size,
    ]
    body = msgpack.packb([*place, 3, 7, "tiny", 2, 16, tasks, list(a.addresses), b""])
    old = BOB.sign(b"murmur-announcement-1\0" + body) + body
    keeper = AnnouncementFilter(MANIFEST, clock=lambda: NOW)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(AnnouncementRefused, match="version"):
                keeper.admit(old)
    assert keeper.refused == {"version": 3}
    assert (
        caplog.text.count("the announcing node speaks protocol 1, this node 2: upgrade the announcing node")
        == 1
    )


def test_frames_of_an_unknown_status_are_refused() -> None:
    async def run(raw: bytes) -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(raw)
        reader.feed_eof()
        await read_frame(reader, 10)

    for raw in ("0400000000", "ff00000000", "0300000000", "030000000102", "0300000001c0"):
        with pytest.raises(DecodeError):
            asyncio.run(run(bytes.fromhex(raw)))
