"""The body exchange: one request and one answer over a libp2p stream, every frame bounded before it is read.

Request: `[version, swarm id, digest, membership token, extensions]`, with what `told_refusals` has to say. Answer: a
status frame with the body (OK) or nothing, then a frame `[referrals, announcements, extensions]`: peers that fetched
the body earlier, and announcements that ride along.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from policies.error_words import brief
from swarm import limits
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.errors import DecodeError, FetchFailed
from swarm.exchange.body_store import BodyStore, MirrorStore, ServeLimits
from swarm.exchange.framing import (
    Dial,
    Status,
    Stream,
    check_caller,
    encode_request,
    one_stream,
    read_extended,
    read_frame,
    transfer_seconds,
    write_frame,
)
from swarm.exchange.rate_limit import PeerBuckets, SharedBuckets, TokenBucket
from swarm.exchange.referrals import MAX_REFERRALS, Referrals
from swarm.exchange.stream_slots import StreamSlots
from swarm.exchange.told_refusals import NO_REFUSALS, ToldRefusals, decode_refused, encode_refused
from swarm.sampling.newcomer_places import IsKnown, nobody_is_known
from swarm.wire import extensions, fields
from swarm.wire.announcement import Announcement
from swarm.wire.identity import PEER_ID_SIZE, peer_bytes, peer_text
from swarm.wire.membership import Membership

_MAX_GOSSIP_FRAME = limits.MAX_PIGGYBACK * (limits.MAX_ANNOUNCEMENT + 8) + MAX_REFERRALS * 64
_ANSWER_TIMEOUT = 6.0  # seconds until the first bytes of an answer
_PEER_SLOTS = 4  # of one peer, which may want the bodies of several others from a mirror
_HOST_BUDGETS = 4  # peers' budgets of bytes that the newcomers at one host have together
_NO_GOSSIP: bytes = msgpack.packb([[], [], []])


class BodyExchange:
    """Serves bodies from the store and fetches those of others into it."""

    def __init__(
        self,
        membership: Membership,
        serve: ServeLimits,
        announcements: AnnouncementStore,
        is_known: IsKnown = nobody_is_known,
    ) -> None:
        self.bodies = BodyStore(serve.stored)
        self.mirrored = MirrorStore(serve.mirrored)
        self.counters: Counter[str] = Counter()
        self.told = ToldRefusals(is_known)
        self.offer: Announcement | None = None  # the own newest: rides on every answer
        self._membership = membership
        self._announcements = announcements
        self._is_known = is_known
        self._slots = StreamSlots(serve.slots, _PEER_SLOTS, self.counters, is_known)
        # A burst is what a peer gets after a pause: enough for a round's bodies, or for one of the largest.
        self._upload = TokenBucket(serve.upload_rate, max(4 * serve.upload_rate, limits.MAX_BODY))
        # Newcomers have half of it, all together: known peers are not to wait for a crowd.
        self._newcomers = TokenBucket(
            serve.upload_rate / 2, max(2 * serve.upload_rate, limits.MAX_BODY + _MAX_GOSSIP_FRAME)
        )
        self._budgets = SharedBuckets(
            PeerBuckets(serve.peer_rate, max(4 * serve.peer_rate, 2 * limits.MAX_BODY)),
            PeerBuckets(_HOST_BUDGETS * serve.peer_rate, 2 * _HOST_BUDGETS * limits.MAX_BODY),
            is_known,
        )
        self._download = TokenBucket(serve.download_rate, max(4 * serve.download_rate, limits.MAX_BODY))
        self._referrals = Referrals()

    async def serve(
        self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = ""
    ) -> None:
        """Answers one stream from `host`. Never raises: whatever a peer does ends this stream and nothing else."""
        async with one_stream(writer, limits.STREAM_TIMEOUT, self.counters, "serve_failed"):
            await self._answer(peer, host, (reader, writer))

    async def fetch(
        self, announcement: Announcement, dial: Dial, refused: Mapping[str, int] = NO_REFUSALS
    ) -> bytes:
        """The body from its publisher, or from those it refers to. Raises FetchFailed.

        `refused` is told to the publisher if it is asked: rollouts of its earlier bodies that were left out, by reason.
        """
        held = self.bodies.get(announcement.digest)
        if held is not None:
            return held
        try:
            async with asyncio.timeout(limits.STREAM_TIMEOUT - 1):
                while not self._download.take(announcement.size):
                    await asyncio.sleep(max(0.01, self._download.wait(announcement.size)))
                body = await self._fetch_booked(announcement, dial, refused)
        except TimeoutError as error:
            raise FetchFailed(f"no body from {announcement.peer} in time") from error
        self.bodies.put_copy(announcement.digest, body)
        self.counters.update(fetched=1, fetched_bytes=len(body))
        return body

    async def _fetch_booked(
        self, announcement: Announcement, dial: Dial, refused: Mapping[str, int]
    ) -> bytes:
        """What does not come uses up none of the rate: whoever announces much and serves nothing stops nobody else."""
        body = None
        try:
            body = await self._fetch_from_any(announcement, dial, refused)
        finally:
            if body is None:
                self._download.give_back(announcement.size)
        return body

    async def _fetch_from_any(
        self, announcement: Announcement, dial: Dial, refused: Mapping[str, int]
    ) -> bytes:
        sources = _sources(announcement)
        untried, tried, causes = list(sources), set[str](), []
        while untried and len(tried) <= MAX_REFERRALS:
            peer = untried.pop(0)
            tried.add(peer)
            try:
                known = sources[peer] if peer in sources else self._addresses(peer)
                stream = await dial(peer, known)
                tell = refused if peer == announcement.peer else {}
                status, body, referrals = await self._ask(stream, announcement, tell)
            except (FetchFailed, DecodeError, OSError, EOFError) as error:
                causes.append(f"{peer}: {brief(error)}")
                continue
            if status is Status.OK and _matches(body, announcement):
                return body
            causes.append(f"{peer}: {'wrong body' if status is Status.OK else status.name.lower()}")
            untried += [p for p in referrals if p not in tried and p not in untried]
        self.counters["fetch_failed"] += 1
        raise FetchFailed("; ".join(causes))

    def _addresses(self, peer: str) -> tuple[str, ...]:
        known = self._announcements.find(peer)
        return known.own_addresses if known else ()

    async def _ask(
        self, stream: Stream, wanted: Announcement, refused: Mapping[str, int]
    ) -> tuple[Status, bytes, list[str]]:
        reader, writer = stream
        try:
            own = self._membership
            request = encode_request(own.swarm, wanted.digest, own.token, more=encode_refused(refused))
            await write_frame(writer, Status.OK, request)
            status, body = await read_frame(reader, wanted.size, _ANSWER_TIMEOUT)
            _, gossip = await read_frame(reader, _MAX_GOSSIP_FRAME)
        finally:
            writer.close()
        referrals, announcements = _decode_gossip(gossip)
        self._announcements.add(announcements)
        return status, body, referrals

    async def _answer(self, peer: str, host: str, stream: Stream) -> None:
        async with self._slots.reading(peer, host):
            (swarm, wanted, token), more = await read_extended(stream, 3, "request")
        check_caller(self._membership, peer, swarm, token)
        self.told.note(peer, decode_refused(more))
        digest, writer = fields.raw(wanted, 32, "digest"), stream[1]
        body, gossip = self.bodies.get(digest) or self.mirrored.get(digest), self._gossip(digest)
        size = len(body or b"") + len(gossip)
        if not self._budgets.take(peer, host, size):
            return await self._send(writer, Status.BUSY, _NO_GOSSIP)
        if body is None:
            return await self._send(writer, Status.NOT_FOUND, gossip)
        with self._slots.answering(peer, host) as granted:
            if not granted or not self._may_upload(peer, size):
                return await self._send(writer, Status.BUSY, gossip)
            async with asyncio.timeout(transfer_seconds(size)):
                await self._send(writer, Status.OK, gossip, body)
        self._referrals.note(peer, digest)
        self.counters.update(served=1, served_bytes=len(body))

    def _may_upload(self, peer: str, size: int) -> bool:
        if self._upload.wait(size) or not (self._is_known(peer) or self._newcomers.take(size)):
            return False
        return self._upload.take(size)

    async def _send(
        self, writer: asyncio.StreamWriter, status: Status, gossip: bytes, body: bytes = b""
    ) -> None:
        if status is not Status.OK:
            self.counters[status.name.lower()] += 1
        await write_frame(writer, status, body)
        await write_frame(writer, Status.OK, gossip)

    def _gossip(self, digest: bytes) -> bytes:
        own = [self.offer] if self.offer else []
        others = self._announcements.draw(limits.MAX_PIGGYBACK - len(own))
        referrals = [peer_bytes(p) for p in self._referrals.of(digest)]
        packed: bytes = msgpack.packb([referrals, [a.encode() for a in own + others], []])
        return packed


def _matches(body: bytes, announcement: Announcement) -> bool:
    return len(body) == announcement.size and hashlib.sha256(body).digest() == announcement.digest


def _sources(announcement: Announcement) -> dict[str, Sequence[str]]:
    """Who has the body, and where: the publisher first unless it names nothing but mirrors."""
    mirrors: dict[str, Sequence[str]] = {peer: (address,) for peer, address in announcement.mirrors.items()}
    publisher = {announcement.peer: announcement.own_addresses}
    return publisher | mirrors if announcement.own_addresses else mirrors | publisher


def _decode_gossip(gossip: bytes) -> tuple[list[str], list[Any]]:
    referrals, announcements, more = fields.items(fields.unpack(gossip), 3, "gossip", least=3)
    extensions.decode(more, "gossip")
    peers = [fields.raw(p, PEER_ID_SIZE, "peer") for p in fields.items(referrals, MAX_REFERRALS, "referrals")]
    return [peer_text(p) for p in peers], fields.items(announcements, limits.MAX_PIGGYBACK, "announcements")
