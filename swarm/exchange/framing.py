"""Frames of every stream protocol of ours: status, length and payload, bounded before they are read."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from enum import IntEnum
from typing import Any

from swarm import limits
from swarm.errors import DecodeError
from swarm.wire import fields
from swarm.wire.membership import Membership

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# Opens a stream to (peer, its announced addresses). Raises FetchFailed.
Dial = Callable[[str, Sequence[str]], Awaitable[Stream]]

HEADER = struct.Struct(">BI")  # of a frame: status, length


class Status(IntEnum):
    OK = 0
    NOT_FOUND = 1
    BUSY = 2


def check_caller(membership: Membership, peer: str, version: Any, swarm: Any, token: Any) -> None:
    """Raises DecodeError unless a member of this swarm speaks, in this version of the protocol."""
    if (version, swarm) != (limits.PROTOCOL_VERSION, membership.swarm):
        fields.refuse("request for another swarm")
    if not (isinstance(token, bytes) and membership.admits(peer, token)):
        fields.refuse("request of a stranger to this private swarm")


async def write_frame(writer: asyncio.StreamWriter, status: Status, payload: bytes) -> None:
    writer.write(HEADER.pack(status, len(payload)))
    writer.write(payload)
    await writer.drain()


async def read_frame(reader: asyncio.StreamReader, limit: int) -> tuple[Status, bytes]:
    """Raises DecodeError before reading a payload over `limit` bytes, and EOFError when the stream ends."""
    status, length = HEADER.unpack(await reader.readexactly(HEADER.size))
    if length > limit or status > max(Status):
        raise DecodeError(f"frame of {length} bytes where at most {limit} may come")
    return Status(status), await reader.readexactly(length)
