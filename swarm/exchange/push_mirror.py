"""Push mirrors: a peer that nobody can dial leaves its bodies with peers that everybody can.

Two steps over one stream, every frame bounded before it is read. Request: `[version, swarm id, digest, size,
membership token, extensions]`; answer: a status. After OK the body follows; a second status says whether it is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from policies.error_words import brief
from swarm import limits
from swarm.errors import DecodeError, FetchFailed
from swarm.exchange.body_store import MirrorStore
from swarm.exchange.framing import (
    Dial,
    Status,
    Stream,
    check_caller,
    encode_request,
    one_stream,
    read_frame,
    read_request,
    write_frame,
)
from swarm.exchange.rate_limit import PeerBuckets
from swarm.exchange.stream_slots import StreamSlots
from swarm.sampling.newcomer_places import IsKnown, nobody_is_known
from swarm.wire import fields
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address

log = logging.getLogger(__name__)

_SLOTS = 8  # bodies on their way at once; one of one peer
_BODY_TIMEOUT = 6.0  # seconds until a body's first bytes come
_BURST = 2 * limits.MAX_BODY
_RATE = _BURST / 60.0  # bytes a second that one peer may bring, over time

WANTED_MIRRORS = 2  # one may leave before the body is fetched
KEEP_TIMEOUT = 15.0  # seconds to bring one body to all
_MAX_TRIES = 6


class MirrorServer:
    """Takes bodies of members that cannot be dialled into `store`, from where fetches are answered."""

    def __init__(
        self, membership: Membership, store: MirrorStore, is_known: IsKnown = nobody_is_known
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._membership = membership
        self._store = store
        self._allowance = PeerBuckets(_RATE, _BURST)
        self._slots = StreamSlots(_SLOTS, 1, self.counters, is_known)

    async def serve(
        self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = ""
    ) -> None:
        """Answers one stream from `host`. Never raises: whatever a peer does ends this stream and nothing else."""
        async with one_stream(writer, limits.STREAM_TIMEOUT, self.counters, "push_failed"):
            await self._answer(peer, host, (reader, writer))

    async def _answer(self, peer: str, host: str, stream: Stream) -> None:
        async with self._slots.reading(peer, host):
            swarm, wanted, size, token = await read_request(stream, 4, "push")
        check_caller(self._membership, peer, swarm, token)
        digest = fields.raw(wanted, 32, "digest")
        size = fields.integer(size, limits.MAX_BODY, "body size", low=1)
        with self._slots.answering(peer, host) as granted:
            room = granted and self._store.has_room(peer, digest, size, host)
            if not (room and self._allowance.take(peer, size)):
                self.counters["push_refused"] += 1
                return await write_frame(stream[1], Status.BUSY, b"")
            await self._take(peer, host, stream, digest, size)

    async def _take(self, peer: str, host: str, stream: Stream, digest: bytes, size: int) -> None:
        reader, writer = stream
        await write_frame(writer, Status.OK, b"")
        _, body = await read_frame(reader, size, _BODY_TIMEOUT)
        if len(body) != size or hashlib.sha256(body).digest() != digest:
            fields.refuse("pushed body is not the promised one")
        kept = self._store.put(peer, digest, body, host)
        self.counters["mirrored" if kept else "push_refused"] += 1
        await write_frame(writer, Status.OK if kept else Status.BUSY, b"")


async def push(stream: Stream, own: Membership, body: bytes) -> bool:
    """Whether the peer at the other end of `stream` keeps `body` now. Raises DecodeError, OSError, EOFError."""
    reader, writer = stream
    digest = hashlib.sha256(body).digest()
    try:
        async with asyncio.timeout(limits.STREAM_TIMEOUT):
            await write_frame(writer, Status.OK, encode_request(own.swarm, digest, len(body), own.token))
            willing, _ = await read_frame(reader, 0)
            if willing is not Status.OK:
                return False
            await write_frame(writer, Status.OK, body)
            kept, _ = await read_frame(reader, 0)
            return kept is Status.OK
    finally:
        writer.close()


class Mirrors:
    """The peers that keep this node's bodies while nobody can dial it."""

    def __init__(self, own: Membership, generator: random.Random) -> None:
        self._own = own
        self._generator = generator
        self._chosen: tuple[Address, ...] = ()

    async def keep(self, body: bytes, candidates: Sequence[Address], dial: Dial) -> tuple[Address, ...]:
        """Brings `body` to WANTED_MIRRORS of `candidates`, those of last time first; returns who keeps it.

        Each candidate's address ends in /p2p/<PeerID>. Returns within KEEP_TIMEOUT seconds, with none if need be.
        """
        known = [a for a in self._chosen if a in candidates]
        others = [a for a in dict.fromkeys(candidates) if a not in known]
        untried = [*known, *self._generator.sample(others, len(others))][:_MAX_TRIES]
        kept: list[Address] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(KEEP_TIMEOUT):
                while untried and len(kept) < WANTED_MIRRORS:
                    asked = untried[: WANTED_MIRRORS - len(kept)]
                    untried = untried[len(asked) :]
                    answers = await asyncio.gather(*(self._bring(body, a, dial) for a in asked))
                    kept += [a for a, took in zip(asked, answers, strict=True) if took]
        self._chosen = tuple(kept)
        return self._chosen

    async def _bring(self, body: bytes, mirror: Address, dial: Dial) -> bool:
        assert mirror.peer is not None
        try:
            stream = await dial(mirror.peer, [str(mirror.without_peer())])
            return await push(stream, self._own, body)
        except (FetchFailed, DecodeError, OSError, EOFError) as error:
            log.debug("%s keeps no body: %s", mirror.peer, brief(error))
            return False
