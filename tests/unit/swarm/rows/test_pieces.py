"""Pieces: equal rows have equal lists, and nothing is unpacked beyond what is due."""

from __future__ import annotations

import pytest
import zstandard
from row_streams import CONTENT, PIECES

from swarm.errors import DecodeError
from swarm.limits import MAX_SHARED_ROWS, ROWS_PIECE
from swarm.rows.pieces import MAX_PIECES, PieceList, list_length, pack, packed_limit, piece_count, unpack


def test_a_list_names_every_piece_and_is_named_by_its_digest() -> None:
    assert len(PIECES.digests) == 3 and PIECES.size == len(CONTENT)
    assert [PIECES.length(n) for n in range(3)] == [ROWS_PIECE, ROWS_PIECE, len(CONTENT) - 2 * ROWS_PIECE]
    assert PieceList.decode(PIECES.encode(), PIECES.size) == PIECES == PieceList.of(CONTENT)
    assert PieceList.of(CONTENT[:-1] + b"x").root != PIECES.root
    assert list_length(PIECES.size) == len(PIECES.encode()) and MAX_PIECES == MAX_SHARED_ROWS // ROWS_PIECE
    assert [piece_count(n) for n in (1, ROWS_PIECE, ROWS_PIECE + 1)] == [1, 1, 2]


@pytest.mark.parametrize("raw", [b"", PIECES.encode()[:-1], PIECES.encode() + bytes(32), bytes(104)])
def test_lists_of_other_sizes_are_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError, match="another size"):
        PieceList.decode(raw, PIECES.size)


def test_what_is_packed_unpacks_to_itself_and_stays_within_its_limit() -> None:
    for content in (b"x", bytes(ROWS_PIECE), CONTENT[:ROWS_PIECE]):
        assert unpack(pack(content), len(content)) == content
        assert len(pack(content)) <= packed_limit(len(content))


BOMB = zstandard.ZstdCompressor().compress(bytes(100 * 2**20))
SMALL_BOMB = zstandard.ZstdCompressor().compress(bytes(2 * 2**20))  # shorter than a piece may be


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (SMALL_BOMB, "declares 2097152 bytes where 1000 are due"),
        (BOMB, "packed piece of"),
        (pack(bytes(999)), "declares 999 bytes"),
        (pack(bytes(1000)) + BOMB, "packed piece of|does not unpack"),
        (pack(bytes(1000)) * 2, "does not unpack to its 1000 bytes"),
        (pack(bytes(1000))[:-1], "does not unpack"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000)), "declares"),
        (b"", "does not unpack"),
        (b"\x28\xb5\x2f\xfd", "does not unpack"),
        (bytes(500), "does not unpack"),
        (bytes(1000 + 1025), "packed piece of 2025 bytes for 1000"),
    ],
)
def test_bombs_and_junk_are_refused(packed: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        unpack(packed, 1000)


def test_a_frame_that_lies_about_its_size_gives_no_more_than_is_due() -> None:
    """The header says 1,000 bytes, the blocks hold 100 MiB."""
    sized = bytearray(zstandard.ZstdCompressor(level=1).compress(bytes(1000)))
    header = zstandard.frame_header_size(bytes(sized))
    lying = bytes(sized[:header]) + BOMB[zstandard.frame_header_size(BOMB) :]
    with pytest.raises(DecodeError):
        unpack(lying, 1000)
