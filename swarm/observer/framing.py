"""Readers of answers on a stream: varint-delimited messages, or our own frames, bounded before they are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, TypeVar

from swarm.exchange.framing import HEADER
from swarm.observer.protobuf import MAX_VARINT, read_varint
from swarm.wire.fields import refuse

_CHUNK = 64 * 1024  # bytes


class ByteStream(Protocol):
    async def read(self, n: int | None = None) -> bytes: ...


T = TypeVar("T")
# Makes an answer of what comes over a stream. May raise DecodeError, EOFError.
Reader: TypeAlias = Callable[[ByteStream], Awaitable[T]]


def message(most: int) -> Reader[bytes]:
    """Reads a varint-delimited message of at most `most` bytes."""

    async def read(stream: ByteStream) -> bytes:
        prefix = b""
        while not prefix or prefix[-1] >= 0x80:
            if len(prefix) == MAX_VARINT:
                refuse("a message without a length")
            prefix += await _exactly(stream, 1)
        size, _ = read_varint(prefix, 0)
        return await _exactly(stream, _bounded(size, most))

    return read


def frames(*most: int) -> Reader[list[tuple[int, bytes]]]:
    """Reads as many frames as there are bounds in bytes: status and payload each."""

    async def read(stream: ByteStream) -> list[tuple[int, bytes]]:
        found = []
        for bound in most:
            status, size = HEADER.unpack(await _exactly(stream, HEADER.size))
            found.append((status, await _exactly(stream, _bounded(size, bound))))
        return found

    return read


def framed(request: bytes) -> bytes:
    """`request` as one frame."""
    return HEADER.pack(0, len(request)) + request


async def _exactly(stream: ByteStream, size: int) -> bytes:
    """Raises EOFError when the peer ends the stream before."""
    received = bytearray()
    while len(received) < size:
        part = await stream.read(min(_CHUNK, size - len(received)))
        if not part:
            raise EOFError
        received += part
    return bytes(received)


def _bounded(size: int, most: int) -> int:
    if size > most:
        refuse(f"an answer of {size} bytes where at most {most} may come")
    return size
