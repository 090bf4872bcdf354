"""The few shapes that captured steps are padded to, so that few graphs serve a whole call.

Prompts and slots are padded to powers of two, rows to powers of two and from 64 on to multiples of 32, places that
are read to multiples of 64.
"""

from __future__ import annotations

PLACES = 64
ROWS = 32  # beyond twice as many, powers of two would leave up to half of the rows idle


def bucket(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def row_bucket(rows: int) -> int:
    """Rows of the table, and of a step, that hold `rows`."""
    return bucket(rows) if rows <= 2 * ROWS else -(-rows // ROWS) * ROWS


def place_bucket(places: int) -> int:
    return -(-places // PLACES) * PLACES
