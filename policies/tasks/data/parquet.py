"""Rows of Parquet, of the columns that are wanted alone. What they unpack to is looked up before any is read, and, as a
file may lie about it, they are read in a process whose memory is bounded (`table_child`).
"""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from policies.error_words import brief
from policies.plain_files import parse_json
from policies.tasks.data.row import MAX_BYTES, MAX_FIELD, MAX_ROWS, DataError, Row, first_twice, text_of

BATCH = 256  # rows that are unpacked at a time, of small ones
BATCH_BYTES = 64 * 2**20  # that as many of the largest rows as may be together take
LETTER_BYTES = 4
_TOO_MUCH = (
    "reading it took more memory or computing than it may, as a file does that unpacks to more than it says: write it "
    "anew with smaller values, or as JSONL"
)
# Numbers of fewer digits than Python's, by their type: their code in `struct`, and digits that tell all apart.
_NARROW = {"halffloat": ("e", 6), "float": ("f", 10)}
_MAX_LINE = 64 * 2**20  # bytes of a row as the child tells it


def parquet_rows(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    """Raises DataError for what is no Parquet file, or would unpack to too much, or has not the wanted columns."""
    request = json.dumps({"path": str(path.absolute()), "wanted": sorted(wanted)})
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "policies.tasks.data.table_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,
    )
    assert child.stdin and child.stdout
    with child, child.stdin, child.stdout:
        try:
            child.stdin.write(request.encode() + b"\n")
            child.stdin.flush()
            yield from _told(child.stdout)
        finally:
            child.kill()


def _told(lines: IO[bytes]) -> Iterator[Row]:
    """Rows to the child's last word. Raises DataError where it says so, or ends without one."""
    while line := lines.readline(_MAX_LINE):
        try:
            match parse_json(line):
                case [str(place), dict(columns)]:
                    yield Row(place, columns)
                case {"end": True}:
                    return
                case {"error": str(words)}:
                    raise DataError(words)
        except ValueError as error:
            if isinstance(error, DataError):
                raise
            break
    raise DataError(_TOO_MUCH)


def _environment() -> dict[str, str]:
    """Of the child, which needs to find this program and nothing else."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def unpacked_rows(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    """As `parquet_rows`, in this process: for one whose memory is bounded, since a file may lie about its size."""
    import pyarrow
    from pyarrow import parquet

    pyarrow.set_cpu_count(1)  # a thread that finds no memory may leave others waiting
    pyarrow.set_io_thread_count(1)
    try:
        with parquet.ParquetFile(
            path, thrift_string_size_limit=2**24, thrift_container_size_limit=2**20
        ) as file:
            size = _checked_size(file.metadata)
            there = file.schema_arrow.names
            if twice := first_twice(there):
                raise DataError(f"it has two columns {twice[:60]!r}: name each column once")
            narrow = {
                field.name: _NARROW[str(field.type)]
                for field in file.schema_arrow
                if str(field.type) in _NARROW
            }
            chosen = [name for name in there if name in wanted]
            # A text that rows share is packed once and unpacked for each of them; small batches take their time.
            largest = LETTER_BYTES * MAX_FIELD * max(1, len(chosen))
            together = max(1, min(BATCH, max(MAX_BYTES // max(1, size), BATCH_BYTES // largest)))
            unread = dict.fromkeys(there)
            number = 0
            for batch in file.iter_batches(together, columns=chosen, use_threads=False):
                for record in _records(batch, number):
                    number += 1
                    place = f"row {number}"
                    for name, kind in narrow.items():
                        if name in record:
                            record[name] = _shortest(record[name], kind)
                    read = {name: text_of(value, place, name) for name, value in record.items()}
                    yield Row(place, unread | read)
    except MemoryError:  # pyarrow's own is one too
        raise DataError(_TOO_MUCH) from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"not a whole Parquet file ({brief(error)}): fetch it again") from None


def _records(batch: Any, before: int) -> list[dict[str, Any]]:
    """A batch as Python's values; `before` are the rows ahead of it. Raises DataError for what Python has no value for,
    such as a date of the year 20,000, a time zone that there is not, or text that is not UTF-8.
    """
    from pyarrow import ArrowException

    try:
        records: list[dict[str, Any]] = batch.to_pylist()
    except ArrowException:
        raise
    except (ValueError, OverflowError, LookupError) as error:
        for row in range(batch.num_rows):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                try:
                    column[row].as_py()
                except (ValueError, OverflowError, LookupError) as odd:
                    raise DataError(
                        f"row {before + row + 1}: {name!r} has no value here ({brief(odd)}): write it as plain text"
                    ) from None
        raise DataError(f"rows after {before} cannot be read ({brief(error)}): write them as JSONL") from None
    return records


def _shortest(value: float | None, kind: tuple[str, int]) -> float | None:
    """The number with the fewest digits that a column of this kind holds as `value`: 0.1, not 0.10000000149011612."""
    code, most = kind
    if value is None or not math.isfinite(value):
        return value
    tried = (float(f"{value:.{digits}g}") for digits in range(1, most))
    return next((short for short in tried if struct.pack(code, short) == struct.pack(code, value)), value)


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
