"""The announcement exchange: a node tells peers that ask which announcements it has heard of, outside the DHT.

Keys of the DHT are known beforehand, so whoever sits next to one can hide what lies under it. Request: `[version, swarm
id, since, membership token, extensions]`. Answer: OK with `[announcements, extensions]`, or BUSY with nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import msgpack

from swarm import limits
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.exchange.framing import (
    Status,
    Stream,
    ask_once,
    check_caller,
    encode_request,
    one_stream,
    read_request,
    write_frame,
)
from swarm.exchange.rate_limit import PeerBuckets, SharedBuckets
from swarm.exchange.stream_slots import StreamSlots
from swarm.sampling.newcomer_places import IsKnown, nobody_is_known
from swarm.wire import extensions, fields
from swarm.wire.announcement import Announcement
from swarm.wire.membership import Membership

_MAX_ANSWER = limits.MAX_TOLD * (limits.MAX_ANNOUNCEMENT + 8) + 16
_TIMEOUT = 5.0  # seconds for one stream from its first byte to its last
_SLOTS, _PEER_SLOTS = 16, 2  # answers at once, in all and of one peer
_BURST, _RATE = 8.0, 1.0  # questions that one peer has at once, and those a second that come back
_HOST_BUDGETS = 4  # peers' budgets that the newcomers at one host have together


class AnnouncementServer:
    """Answers with the own newest announcement, those of known peers and then others, each kind newest first."""

    def __init__(
        self,
        membership: Membership,
        announcements: AnnouncementStore,
        offer: Callable[[], Announcement | None],
        is_known: IsKnown = nobody_is_known,
    ) -> None:
        """`offer` gives the own newest."""
        self.counters: Counter[str] = Counter()
        self._membership, self._announcements, self._offer = membership, announcements, offer
        self._is_known = is_known
        self._slots = StreamSlots(_SLOTS, _PEER_SLOTS, self.counters, is_known)
        hosts = PeerBuckets(_HOST_BUDGETS * _RATE, _HOST_BUDGETS * _BURST)
        self._questions = SharedBuckets(PeerBuckets(_RATE, _BURST), hosts, is_known)

    async def serve(
        self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = ""
    ) -> None:
        """Answers one stream from `host`. Never raises: whatever a peer does ends this stream and nothing else."""
        async with one_stream(writer, _TIMEOUT, self.counters, "tell_failed"):
            await self._answer(peer, host, (reader, writer))

    async def _answer(self, peer: str, host: str, stream: Stream) -> None:
        async with self._slots.reading(peer, host):
            swarm, since, token = await read_request(stream, 3, "question")
        check_caller(self._membership, peer, swarm, token)
        since = fields.number(since, 0.0, fields.MAX_COUNT, "time")
        with self._slots.answering(peer, host) as granted:
            within = self._questions.take(peer, host, 1.0)
            if not (granted and within):
                self.counters["tell_busy"] += 1
                return await write_frame(stream[1], Status.BUSY, b"")
            told = [a.encode() for a in self._newest(since)]
            await write_frame(stream[1], Status.OK, msgpack.packb([told, []]))
        self.counters["told"] += len(told)

    def _newest(self, since: float) -> list[Announcement]:
        own = self._offer()
        others = [a for a in self._announcements.live() if a.created > since]
        known = [a for a in others if self._is_known(a.peer)]
        strangers = [a for a in others if not self._is_known(a.peer)]
        first = [own] if own is not None and own.created > since else []
        return [*first, *known, *strangers][: limits.MAX_TOLD]


async def ask_announcements(stream: Stream, own: Membership, since: float) -> list[bytes] | None:
    """What the peer at the other end heard of that was created after `since` (Unix seconds); unchecked.

    None where it is busy. Raises DecodeError, OSError, EOFError.
    """
    request = encode_request(own.swarm, since, own.token)
    status, answer = await ask_once(stream, request, _MAX_ANSWER, _TIMEOUT)
    if status is not Status.OK:
        return None
    told, more = fields.items(fields.unpack(answer), 2, "announcements", least=2)
    extensions.decode(more, "announcements")
    raws = fields.items(told, limits.MAX_TOLD, "announcements")
    return [raw for raw in raws if isinstance(raw, bytes) and len(raw) <= limits.MAX_ANNOUNCEMENT]
