"""The transport's own process: what it makes of its parent's calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from announcing import MANIFEST, announce

from swarm.network.__main__ import Server
from swarm.network.ipc import DhtSettings
from swarm.network.supervisor import PeerSupervisor
from swarm.wire.announcement import Announcement
from swarm.wire.identity import Identity

ALICE, BOB = Identity(b"a" * 32), Identity(b"b" * 32)


class Supervisor:
    """Knows two announcements, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.known = [announce(ALICE), announce(BOB)]
        self.declined: list[Announcement] = []
        self.fetched: list[Announcement] = []
        self.refused: list[dict[str, int]] = []

    async def announcements(
        self, want: int, declined: Sequence[Announcement], known: Sequence[str] = ()
    ) -> list[Announcement]:
        self.declined += declined
        return self.known

    async def fetch(self, announcement: Announcement, refused: Mapping[str, int]) -> bytes:
        self.fetched.append(announcement)
        self.refused.append(dict(refused))
        return b"body"


def test_announcements_that_were_handed_up_are_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Supervisor()
    server = Server(cast(PeerSupervisor, supervisor), DhtSettings(MANIFEST), cast(Any, None))
    whole, decoded, other = Announcement.decode, [], announce(ALICE, size=7)

    async def calls() -> None:
        first, second = await server._announcements(2, [], [])
        monkeypatch.setattr(Announcement, "decode", lambda raw: decoded.append(raw) or whole(raw))
        assert await server._fetch(first) == b"body"
        await server._announcements(2, [second], [])
        await server._fetch(other.encode(), {"encoding": 2})

    asyncio.run(calls())
    assert supervisor.fetched == [supervisor.known[0], other]
    assert supervisor.refused == [{}, {"encoding": 2}]
    assert supervisor.declined == [supervisor.known[1]]
    assert decoded == [other.encode()]
