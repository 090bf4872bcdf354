"""Whether the peers that a node joins through let it in: those of another swarm end its questions without a word."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Sequence

import pytest
from announcing import MANIFEST, NOW

from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.errors import FetchFailed
from swarm.exchange.announcement_exchange import AnnouncementServer
from swarm.exchange.framing import Status, Stream, write_frame
from swarm.network import known_peers
from swarm.network.known_peers import KnownPeers
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership, member_key, new_secret
from swarm.wire.multiaddr import Address

SECRET = new_secret()
OPEN = Membership.of(MANIFEST, b"", Identity(bytes(32)).peer_id)
PRIVATE = Membership(
    MANIFEST.swarm_id, member_key(SECRET), b""
)  # with the same id: the token alone is missing
OTHER = Membership("0" * 64, b"", b"")
HUBS = [Identity(bytes([n + 1]) * 32).peer_id for n in range(5)]
PLACES = [Address.parse(f"/ip4/127.0.0.1/tcp/{4001 + n}/p2p/{peer}") for n, peer in enumerate(HUBS)]


def store() -> AnnouncementStore:
    return AnnouncementStore(AnnouncementFilter(MANIFEST, lambda: NOW), "")


async def answered_by(kind: str, stream: Stream) -> None:
    if kind == "busy":
        await stream[0].read(1)
        await write_frame(stream[1], Status.BUSY, b"")
        stream[1].close()
        return
    membership = {"open": OPEN, "private": PRIVATE, "other": OTHER}[kind]
    await AnnouncementServer(membership, store(), lambda: None).serve(HUBS[0], *stream)


def shut_out(kinds: Sequence[str], node: KnownPeers | None = None) -> tuple[bool, Counter[str]]:
    """What a node makes of hubs of these kinds, and how often each was asked."""
    asked: Counter[str] = Counter()
    serving: list[asyncio.Task[None]] = []

    async def dial(peer: str, addresses: Sequence[str]) -> Stream:
        kind = kinds[HUBS.index(peer)]
        asked[peer] += 1
        if kind == "gone":
            raise FetchFailed("cannot be reached")
        ours, theirs = socket.socketpair()
        served = answered_by(kind, await opened(theirs))
        serving.append(asyncio.create_task(served))
        return await opened(ours)

    async def run() -> bool:
        known = node or KnownPeers(OPEN, store(), random.Random(1))
        return await known.is_shut_out(dial, PLACES[: len(kinds)])

    return asyncio.run(run()), asked


async def opened(end: socket.socket) -> Stream:
    return await asyncio.open_connection(sock=end)


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (["private"], True),
        (["other"], True),
        (["other", "private", "other", "private", "other"], True),
        (["open"], False),
        (["busy"], False),
        (["gone"], False),  # which says nothing of a swarm
        (["other", "gone"], False),
        (["other", "other", "other", "other", "open"], False),
        ([], False),
    ],
)
def test_a_node_is_shut_out_where_all_take_its_question_and_none_answers(
    kinds: list[str], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_peers, "_PAUSE", 0.0)
    found, asked = shut_out(kinds)
    assert found is told
    assert not told or set(asked.values()) == {2}  # a server that is full closes a question too


def test_who_was_answered_once_is_not_shut_out_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_peers, "_PAUSE", 0.0)
    node = KnownPeers(OPEN, store(), random.Random(1))
    assert shut_out(["open"], node)[0] is False
    found, asked = shut_out(["other"], node)
    assert found is False and not asked
