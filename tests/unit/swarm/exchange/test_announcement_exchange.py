"""Asking a peer for announcements: what it tells first, how much, how often, and what is made of odd answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import msgpack
import pytest
from announcing import MANIFEST, NOW, announce

from swarm import limits
from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.errors import DecodeError
from swarm.exchange.announcement_exchange import AnnouncementServer, ask_announcements
from swarm.exchange.framing import Status, Stream, encode_request, read_frame, write_frame
from swarm.wire.announcement import Announcement
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership

ALICE, BOB = Identity(bytes([1]) * 32), Identity(bytes([2]) * 32)
OTHERS = [Identity(bytes([3, n]) * 16) for n in range(100)]
OWN = Membership.of(MANIFEST, b"", ALICE.peer_id)
SWARM = MANIFEST.swarm_id


async def pair() -> tuple[Stream, Stream]:
    left, right = socket.socketpair()
    return await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right)


def server(heard: Sequence[Announcement], known: Sequence[str] = ()) -> AnnouncementServer:
    store = AnnouncementStore(AnnouncementFilter(MANIFEST, lambda: NOW + 5.0), ALICE.peer_id)
    store.add([a.encode() for a in heard])
    return AnnouncementServer(OWN, store, lambda: announce(ALICE), lambda peer: peer in known)


async def ask(asked: AnnouncementServer, since: float = 0.0, peer: str = BOB.peer_id) -> list[bytes] | None:
    ours, theirs = await pair()
    answering = asyncio.create_task(asked.serve(peer, *theirs, "203.0.113.1"))
    try:
        return await ask_announcements(ours, OWN, since)
    finally:
        await answering


def test_the_own_comes_first_then_those_of_known_peers_and_no_more_than_64() -> None:
    heard = [announce(peer, created=NOW + n / 100) for n, peer in enumerate(OTHERS)]
    asked = server(heard, known=[OTHERS[3].peer_id])
    told = [Announcement.decode(raw).peer for raw in asyncio.run(ask(asked)) or ()]
    newest = [peer.peer_id for peer in reversed(OTHERS)]
    assert told == [ALICE.peer_id, OTHERS[3].peer_id, *newest[:62]]
    assert asked.counters == {"told": limits.MAX_TOLD}


def test_what_was_created_before_is_left_out() -> None:
    asked = server([announce(OTHERS[0], created=NOW + 2.0), announce(OTHERS[1], created=NOW - 2.0)])
    assert [Announcement.decode(raw).peer for raw in asyncio.run(ask(asked, NOW)) or ()] == [
        OTHERS[0].peer_id
    ]


def test_who_asks_too_often_is_told_that_the_node_is_busy_and_others_are_answered() -> None:
    async def run() -> tuple[list[list[bytes] | None], list[bytes] | None]:
        asked = server([])
        return [await ask(asked) for _ in range(10)], await ask(asked, peer=OTHERS[0].peer_id)

    often, other = asyncio.run(run())
    assert often[0] == other == [announce(ALICE).encode()]
    assert often[-1] is None


@pytest.mark.parametrize(
    "values",
    [
        (SWARM, None, b""),
        (SWARM, -1.0, b""),
        (SWARM, float("nan"), b""),
        (SWARM, 0, b""),
        ("x", 0.0, b""),
        (),
    ],
)
def test_bad_questions_get_no_answer_and_are_counted(values: tuple[object, ...]) -> None:
    asked = server([])

    async def run() -> bytes:
        (reader, writer), theirs = await pair()
        answering = asyncio.create_task(asked.serve(BOB.peer_id, *theirs))
        await write_frame(writer, Status.OK, encode_request(*values))
        answer = await reader.read()
        writer.close()
        await answering
        return answer

    assert asyncio.run(run()) == b""
    assert asked.counters == {"tell_failed": 1}


@pytest.mark.parametrize(
    "answer",
    [b"\xc1", msgpack.packb([]), msgpack.packb([[b""] * 65, []]), msgpack.packb([{}, []]), bytes(70_000)],
)
def test_odd_answers_raise_what_the_asker_expects(answer: bytes) -> None:
    async def run() -> object:
        ours, theirs = await pair()

        async def answering() -> None:
            await read_frame(theirs[0], limits.MAX_REQUEST)
            await write_frame(theirs[1], Status.OK, answer)

        task = asyncio.create_task(answering())
        try:
            return await ask_announcements(ours, OWN, 0.0)
        finally:
            task.cancel()
            theirs[1].close()

    with pytest.raises(DecodeError):
        asyncio.run(run())
