"""Rows of Parquet, of the columns that are wanted alone; what they unpack to is looked up before any is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from policies.tasks.data.row import MAX_BYTES, MAX_ROWS, DataError, Row, text_of

BATCH = 256  # rows that are unpacked at a time, of small ones


def parquet_rows(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    """Raises DataError for what is no Parquet file, or would unpack to too much, or has not the wanted columns."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(
            path, thrift_string_size_limit=2**24, thrift_container_size_limit=2**20
        ) as file:
            size = _checked_size(file.metadata)
            there = file.schema_arrow.names
            # A text that rows share is packed once and unpacked for each of them.
            together = max(1, min(BATCH, MAX_BYTES // max(1, size)))
            chosen = [name for name in there if name in wanted]
            number = 0
            for batch in file.iter_batches(together, columns=chosen):
                for record in batch.to_pylist():
                    number += 1
                    place = f"row {number}"
                    missing = dict.fromkeys(there)
                    yield Row(place, missing | {k: text_of(v, place, k) for k, v in record.items()})
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"not a whole Parquet file ({str(error)[:200]}): fetch it again") from None


def _checked_size(metadata: Any) -> int:
    """Bytes that the file says it unpacks to. Raises DataError for too many, or too many rows."""
    rows = metadata.num_rows
    size: int = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if rows > MAX_ROWS:
        raise DataError(f"{rows:,} rows; at most {MAX_ROWS:,}: take a part of them")
    if size > MAX_BYTES:
        raise DataError(
            f"{size / 2**20:,.0f} MB once unpacked; at most {MAX_BYTES // 2**20}: take a part of its rows"
        )
    return size
