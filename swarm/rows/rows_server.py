"""The rows server hands on rows of data tasks, a piece a stream, within a quota for each peer and address.

Request: `[version, swarm id, root, number, membership token, extensions]`; 0 asks for the list of pieces, n for the
nth piece. Answer: OK with one zstd frame, or a status with nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from swarm import limits
from swarm.exchange.body_store import ServeLimits
from swarm.exchange.framing import (
    Status,
    Stream,
    check_caller,
    one_stream,
    read_request,
    transfer_seconds,
    write_frame,
)
from swarm.exchange.rate_limit import PeerBuckets, SharedBuckets, TokenBucket
from swarm.exchange.stream_slots import StreamSlots
from swarm.rows.pieces import DIGEST_SIZE, MAX_PIECES, pack, packed_limit
from swarm.rows.row_store import SharedRows
from swarm.sampling.newcomer_places import IsKnown, nobody_is_known
from swarm.wire import fields
from swarm.wire.membership import Membership

_SLOTS, _PEER_SLOTS = 8, 2  # pieces under way at once, in all and of one peer
_HOUR = 3600.0
# Copies of all rows that a peer, and the newcomers of an address, get in an hour.
_PEER_COPIES, _HOST_COPIES = 3, 24
_LEAST = 1024  # bytes that any answer counts as
_UPLOAD_SHARE = 0.25  # of the node's upload rate: bodies are what a swarm lives on


class RowsServer:
    """Of one node; answers members alone, as every server does."""

    def __init__(
        self,
        membership: Membership,
        shared: SharedRows,
        serve: ServeLimits,
        is_known: IsKnown = nobody_is_known,
    ) -> None:
        self.counters: Counter[str] = Counter({"rows_damaged": shared.damaged} if shared.damaged else {})
        self._membership, self._shared = membership, shared
        self._slots = StreamSlots(_SLOTS, _PEER_SLOTS, self.counters, is_known)
        rate = _UPLOAD_SHARE * serve.upload_rate
        self._upload = TokenBucket(rate, max(rate, 4 * packed_limit(limits.ROWS_PIECE)))
        copy = float(shared.size + 2 * _LEAST + 2 * limits.ROWS_PIECE)
        peers = PeerBuckets(_PEER_COPIES * copy / _HOUR, _PEER_COPIES * copy)
        hosts = PeerBuckets(_HOST_COPIES * copy / _HOUR, _HOST_COPIES * copy)
        self._budgets = SharedBuckets(peers, hosts, is_known)

    async def serve(
        self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = ""
    ) -> None:
        """Answers one stream from `host`. Never raises: whatever a peer does ends this stream and nothing else."""
        async with one_stream(writer, limits.STREAM_TIMEOUT, self.counters, "rows_serve_failed"):
            await self._answer(peer, host, (reader, writer))

    async def _answer(self, peer: str, host: str, stream: Stream) -> None:
        async with self._slots.reading(peer, host):
            swarm, wanted, number, token = await read_request(stream, 4, "question for rows")
        check_caller(self._membership, peer, swarm, token)
        root = fields.raw(wanted, DIGEST_SIZE, "root of rows")
        number = fields.integer(number, MAX_PIECES, "number of a piece")
        with self._slots.answering(peer, host) as granted:
            content = self._content(root, number) if granted else b""
            if content is None:
                return await self._refuse(stream, Status.NOT_FOUND)
            if not (granted and self._within(peer, host, len(content))):
                return await self._refuse(stream, Status.BUSY)
            packed = pack(content)
            async with asyncio.timeout(transfer_seconds(len(packed))):
                await write_frame(stream[1], Status.OK, packed)
        self.counters.update(rows_served=1, rows_served_bytes=len(packed))

    def _content(self, root: bytes, number: int) -> bytes | None:
        pieces = self._shared.list_of(root)
        if pieces is None or number > len(pieces.digests):
            return None
        return pieces.encode() if number == 0 else self._shared.read(root, number - 1)

    def _within(self, peer: str, host: str, size: int) -> bool:
        """Whether the upload rate, the peer, and the newcomers at its host together, have so many bytes left."""
        size = max(size, _LEAST)
        return (
            not self._upload.wait(size) and self._budgets.take(peer, host, size) and self._upload.take(size)
        )

    async def _refuse(self, stream: Stream, status: Status) -> None:
        self.counters[f"rows_{status.name.lower()}"] += 1
        await write_frame(stream[1], status, b"")
