"""Frames of every stream protocol of ours: status, length and payload, bounded before they are read.

Every request is `[version, swarm id, ..., extensions]`. One of another version is answered with status VERSION and
`[own version]`, whatever the rest of it looks like.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Any

import msgpack

from swarm import limits
from swarm.errors import DecodeError, OtherVersion
from swarm.wire import extensions, fields
from swarm.wire.extensions import Extensions
from swarm.wire.membership import Membership

log = logging.getLogger(__name__)

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# Opens a stream to (peer, its announced addresses). Raises FetchFailed.
Dial = Callable[[str, Sequence[str]], Awaitable[Stream]]

HEADER = struct.Struct(">BI")  # of a frame: status, length
GRACE = 3.0  # seconds after which a frame's bytes have to come at MIN_RATE: a byte now and then holds a stream open
MIN_RATE = 16 * 1024.0  # bytes a second, on average
_PIECE = 64 * 1024  # bytes read at a time


class Status(IntEnum):
    OK = 0
    NOT_FOUND = 1
    BUSY = 2
    VERSION = 3  # the request is of another version of the protocol


_MAX_VERSION_ANSWER = 16  # bytes


@asynccontextmanager
async def one_stream(
    writer: asyncio.StreamWriter, seconds: float, counters: Counter[str], failed: str
) -> AsyncIterator[None]:
    """Holds while a server answers one stream, for `seconds` at most, and closes it.

    Whatever a peer does in it ends this stream and nothing else: it is counted as `refused_version` or `failed`.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except OtherVersion:
        counters["refused_version"] += 1
    except (DecodeError, OSError, EOFError) as error:  # TimeoutError is an OSError
        counters[failed] += 1
        log.debug("%s: %s", failed, type(error).__name__)
    finally:
        writer.close()


def encode_request(*values: Any, more: Extensions = ()) -> bytes:
    """A request with these fields after its version, and with `more` as its extensions."""
    packed: bytes = msgpack.packb([limits.PROTOCOL_VERSION, *values, extensions.encode(more)])
    return packed


def decode_request(raw: bytes, count: int, what: str) -> tuple[list[Any], Extensions]:
    """The `count` fields between version and extensions, and these. Raises OtherVersion, DecodeError."""
    values = fields.items(fields.unpack(raw), 64, what, least=1)
    fields.check_version(values[0], "the asking node")
    fields.items(values, count + 2, what, least=count + 2)
    return values[1:-1], extensions.decode(values[-1], what)


async def ask_once(stream: Stream, request: bytes, limit: int, seconds: float) -> tuple[Status, bytes]:
    """The answer to `request`, of `limit` bytes at most, within `seconds`; the stream is closed then.

    Raises OtherVersion, DecodeError, OSError, EOFError.
    """
    reader, writer = stream
    try:
        async with asyncio.timeout(seconds):
            await write_frame(writer, Status.OK, request)
            return await read_frame(reader, limit)
    finally:
        writer.close()


async def read_request(stream: Stream, count: int, what: str) -> list[Any]:
    """The next frame's `count` fields. One of another version is answered here. Raises OtherVersion, DecodeError."""
    return (await read_extended(stream, count, what))[0]


async def read_extended(stream: Stream, count: int, what: str) -> tuple[list[Any], Extensions]:
    """As `read_request`, with the extensions."""
    reader, writer = stream
    _, raw = await read_frame(reader, limits.MAX_REQUEST)
    try:
        return decode_request(raw, count, what)
    except OtherVersion as error:
        log.warning("a request was refused: %s", error)
        await write_frame(writer, Status.VERSION, msgpack.packb([limits.PROTOCOL_VERSION]))
        raise


def check_caller(membership: Membership, peer: str, swarm: Any, token: Any) -> None:
    """Raises DecodeError unless a member of this swarm speaks."""
    if swarm != membership.swarm:
        fields.refuse("request for another swarm")
    if not (isinstance(token, bytes) and membership.admits(peer, token)):
        fields.refuse("request of a stranger to this private swarm")


def check_status(status: int, payload: bytes) -> Status:
    """The status of an answer. Raises OtherVersion when the answering node speaks another version, DecodeError."""
    if status == Status.VERSION:
        fields.check_version(fields.items(fields.unpack(payload), 1, "version", least=1)[0], "the asked node")
    if status not in Status.__members__.values() or status == Status.VERSION:
        fields.refuse("status of an unknown kind")
    return Status(status)


def transfer_seconds(size: int) -> float:
    """The longest that `size` bytes may take."""
    return GRACE + size / MIN_RATE


async def write_frame(writer: asyncio.StreamWriter, status: Status, payload: bytes) -> None:
    writer.write(HEADER.pack(status, len(payload)))
    writer.write(payload)
    await writer.drain()


async def read_frame(
    reader: asyncio.StreamReader, limit: int, patience: float | None = None
) -> tuple[Status, bytes]:
    """Raises DecodeError before it reads over `limit` bytes, OtherVersion, EOFError when the stream ends, and
    TimeoutError when nothing comes for `patience` seconds or the payload comes slower than MIN_RATE.
    """
    async with asyncio.timeout(patience):
        status, length = HEADER.unpack(await reader.readexactly(HEADER.size))
    if status == Status.VERSION:
        limit = _MAX_VERSION_ANSWER
    if length > limit:
        raise DecodeError(f"frame of {length} bytes where at most {limit} may come")
    payload = await _read_steadily(reader, length)
    return check_status(status, payload), payload


async def _read_steadily(reader: asyncio.StreamReader, size: int) -> bytes:
    """Exactly `size` bytes. Raises EOFError, and TimeoutError when they come slower than MIN_RATE after GRACE."""
    began = asyncio.get_running_loop().time()
    received = bytearray()
    async with asyncio.timeout_at(began + GRACE) as limit:
        while len(received) < size:
            piece = await reader.read(min(_PIECE, size - len(received)))
            if not piece:
                raise asyncio.IncompleteReadError(bytes(received), size)
            received += piece
            limit.reschedule(began + transfer_seconds(len(received)))
    return bytes(received)
