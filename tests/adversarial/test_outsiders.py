"""Who lacks a private swarm's secret: gets no body and no announcement, and its own count nowhere."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from announcing import MANIFEST, NOW, unsigned

from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementReason, AnnouncementRefused
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.exchange.announcement_exchange import AnnouncementServer, ask_announcements
from swarm.exchange.body_exchange import BodyExchange
from swarm.exchange.body_store import ServeLimits
from swarm.exchange.framing import Status, encode_request, read_frame, write_frame
from swarm.wire.announcement import Announcement
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership, member_key

SECRET = bytes(range(32))
PRIVATE = replace(MANIFEST, member_key=member_key(SECRET))
ALICE, MALLORY = Identity(b"a" * 32), Identity(b"m" * 32)
TOKENS = {
    "none": b"",
    "of another secret": Membership.of(
        replace(MANIFEST, member_key=member_key(bytes(32))), bytes(32), MALLORY.peer_id
    ).token,
    "of a member": Membership.of(PRIVATE, SECRET, ALICE.peer_id).token,
}


def announced(identity: Identity, token: bytes) -> Announcement:
    return unsigned(identity.peer_id, swarm=PRIVATE.swarm_id, token=token).sign(identity)


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_what_an_outsider_announces_is_refused_and_counted(token: bytes) -> None:
    """Also with a member's token, which is a word about that member's name alone."""
    gate = AnnouncementFilter(PRIVATE, lambda: NOW)
    with pytest.raises(AnnouncementRefused) as refusal:
        gate.admit(announced(MALLORY, token).encode())
    assert refusal.value.reason is AnnouncementReason.MEMBERSHIP
    assert gate.refused == {AnnouncementReason.MEMBERSHIP: 1}
    gate.admit(announced(ALICE, TOKENS["of a member"]).encode())


def test_an_outsider_whose_announcements_are_of_the_future_stays_a_foreigner() -> None:
    gate = AnnouncementFilter(PRIVATE, lambda: NOW - 3600.0)
    told: list[str] = []
    gate.on_future = lambda announcement, ahead: told.append(announcement.peer)
    for token in TOKENS.values():
        with pytest.raises(AnnouncementRefused, match="future"):
            gate.admit(announced(MALLORY, token).encode())
    assert gate.foreign == len(TOKENS) and told == []
    with pytest.raises(AnnouncementRefused, match="future"):
        gate.admit(announced(ALICE, TOKENS["of a member"]).encode())
    assert gate.foreign == len(TOKENS) and told == [ALICE.peer_id]


def asked(serve: Callable[..., Any], ask: Callable[..., Any]) -> Any:
    """What `ask` makes of a stream from mallory that `serve` answers."""

    async def run() -> Any:
        left, right = socket.socketpair()
        ours, theirs = await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right)
        serving = asyncio.create_task(serve(MALLORY.peer_id, *theirs, "203.0.113.9"))
        try:
            return await ask(ours)
        finally:
            await serving
            ours[1].close()

    return asyncio.run(run())


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_an_outsider_is_told_no_announcements(token: bytes) -> None:
    own = Membership.of(PRIVATE, SECRET, ALICE.peer_id)
    store = AnnouncementStore(AnnouncementFilter(PRIVATE, lambda: NOW), ALICE.peer_id)
    server = AnnouncementServer(own, store, lambda: announced(ALICE, own.token))
    outsider = Membership(PRIVATE.swarm_id, b"", token)
    with pytest.raises((EOFError, OSError)):
        asked(server.serve, lambda stream: ask_announcements(stream, outsider, 0.0))
    assert server.counters["tell_failed"] == 1 and not server.counters["told"]


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_an_outsider_gets_no_body(token: bytes) -> None:
    own = Membership.of(PRIVATE, SECRET, ALICE.peer_id)
    store = AnnouncementStore(AnnouncementFilter(PRIVATE, lambda: NOW), ALICE.peer_id)
    exchange, digest = BodyExchange(own, ServeLimits(), store), b"d" * 32
    exchange.bodies.put_own(digest, b"a body")

    async def ask(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> object:
        await write_frame(stream[1], Status.OK, encode_request(PRIVATE.swarm_id, digest, token))
        return await read_frame(stream[0], 1000, 5.0)

    with pytest.raises((EOFError, OSError)):
        asked(exchange.serve, ask)
    assert exchange.counters["serve_failed"] == 1 and not exchange.counters["served"]
