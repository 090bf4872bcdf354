"""Pieces of shared rows: the content is cut at fixed places, and a list of the pieces' digests stands for all of it.

Digests are over the plain bytes, so whoever has equal rows serves equal pieces, however its library packs them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import zstandard

from swarm.errors import DecodeError
from swarm.limits import MAX_SHARED_ROWS, ROWS_PIECE

DIGEST_SIZE = 32
_SIZE_BYTES = 8  # of the content's size, at the start of a list
_WINDOW = 2 * ROWS_PIECE  # memory that a packed piece may ask of its reader
_PACKING = 1024  # bytes that packing may add
_LEVEL = 3


@dataclass(frozen=True, slots=True)
class PieceList:
    """Bytes of the content, and SHA-256 of each piece, in order. Every piece but the last is ROWS_PIECE long."""

    size: int
    digests: tuple[bytes, ...]

    @classmethod
    def of(cls, content: bytes) -> PieceList:
        cut = (content[at : at + ROWS_PIECE] for at in range(0, len(content), ROWS_PIECE))
        return cls(len(content), tuple(hashlib.sha256(piece).digest() for piece in cut))

    @classmethod
    def decode(cls, raw: bytes, size: int) -> PieceList:
        """Of content that has `size` bytes. Raises DecodeError for a list of anything else."""
        if len(raw) != list_length(size) or int.from_bytes(raw[:_SIZE_BYTES], "big") != size:
            raise DecodeError("list of pieces for rows of another size")
        starts = range(_SIZE_BYTES, len(raw), DIGEST_SIZE)
        return cls(size, tuple(raw[start : start + DIGEST_SIZE] for start in starts))

    @property
    def root(self) -> bytes:
        """SHA-256 of the list: what a manifest names rows by."""
        return hashlib.sha256(self.encode()).digest()

    def encode(self) -> bytes:
        return self.size.to_bytes(_SIZE_BYTES, "big") + b"".join(self.digests)

    def length(self, number: int) -> int:
        """Bytes of piece `number`, counted from 0."""
        return min(ROWS_PIECE, self.size - number * ROWS_PIECE)


def piece_count(size: int) -> int:
    return -(-size // ROWS_PIECE)


def list_length(size: int) -> int:
    """Bytes of the list of content of `size` bytes."""
    return _SIZE_BYTES + DIGEST_SIZE * piece_count(size)


MAX_PIECES = piece_count(MAX_SHARED_ROWS)


def packed_limit(length: int) -> int:
    """The most bytes in which `length` bytes may travel."""
    return length + _PACKING


def pack(content: bytes) -> bytes:
    """One zstd frame that declares its size."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(content)


def unpack(packed: bytes, length: int) -> bytes:
    """The `length` bytes of one frame; never unpacks more. Raises DecodeError for anything else."""
    if len(packed) > packed_limit(length):
        raise DecodeError(f"packed piece of {len(packed)} bytes for {length}")
    try:
        header = zstandard.get_frame_parameters(packed)
        if header.content_size != length:
            raise DecodeError(f"piece that declares {header.content_size} bytes where {length} are due")
        if header.window_size > _WINDOW:
            raise DecodeError(f"piece that asks for a window of {header.window_size} bytes")
        unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        # A byte more than is due: one frame may be followed by others.
        content = unpacker.stream_reader(packed, read_across_frames=True).read(length + 1)
    except zstandard.ZstdError as error:
        raise DecodeError("piece that does not unpack") from error
    if len(content) != length:
        raise DecodeError(f"piece that does not unpack to its {length} bytes")
    return content
