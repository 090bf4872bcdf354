"""Rows of JSONL and CSV, plain or in gzip, whichever the first bytes say. Nothing is evaluated: a formula in a CSV is
the text that it is.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

from policies.tasks.data.row import MAX_BYTES, MAX_ROWS, DataError, Row, first_twice, row_of

MAX_LINE = 4 * 2**20  # bytes
SEPARATORS = ",;\t"  # as programs of other countries and tables write them
MAX_LINES = 4 * MAX_ROWS  # a quoted value of CSV may have several; a million take a second
_ONE_A_LINE = "a file of JSONL has one object a line: jq -c '.[]' makes one of a list"
_GZIP = b"\x1f\x8b"
_OTHER_KINDS = {
    b"PAR1": "it is a Parquet file: let its name end with .parquet",
    b"PK\x03\x04": "it is an archive or a spreadsheet: save its table as CSV",
    b"\xff\xfe": "it is in UTF-16: save it as UTF-8",
    b"\xfe\xff": "it is in UTF-16: save it as UTF-8",
}


def json_rows(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    """One object a line; empty lines are passed over. Raises DataError that names the line."""
    for number, line in _lines(path):
        if line.strip():
            place = f"line {number}"
            yield row_of(place, _object(line, place), wanted)


def csv_rows(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    """A header, then rows of as many values, parted as the header is; rows of blanks are passed over.

    Raises DataError that names the line.
    """
    csv.field_size_limit(MAX_LINE)  # a column that is not read may be longer than those that are
    lines = (line for _, line in _lines(path))
    first = next(lines, "")
    separator = max(SEPARATORS, key=first.count)
    reader = csv.reader(chain([first], lines), delimiter=separator, skipinitialspace=True, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for values in reader:
            place, start = f"line {start}", reader.line_num + 1
            if not any(map(str.strip, values)):
                continue
            if header is None:
                header = _header(values)
                continue
            if len(values) != len(header):
                raise DataError(
                    f"{place}: {len(values)} values for {len(header)} columns: put values that hold {separator!r} in "
                    "quotes"
                )
            yield row_of(place, dict(zip(header, (value or None for value in values), strict=True)), wanted)
    except csv.Error as error:
        hint = (
            "save it with line feeds at line ends" if "new-line" in str(error) else "is a quote not closed?"
        )
        raise DataError(f"line {start}: not CSV ({str(error).partition(' - ')[0]}): {hint}") from None


def _header(values: list[str]) -> list[str]:
    header = [value.strip() for value in values]
    twice = first_twice(header)
    if twice or "" in header:
        what = f"names {twice[:60]!r} twice" if twice else "has a column without a name"
        raise DataError(f"line 1: the header {what}: name each column once")
    return header


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        value = _parsed(line)
    except ValueError as error:
        raise DataError(f"{place}: not JSON ({error}); {_ONE_A_LINE}") from None
    if not isinstance(value, dict):
        kind = {"list": "a list", "str": "a text"}.get(type(value).__name__, f"a {type(value).__name__}")
        raise DataError(
            f'{place}: {kind} in place of an object such as {{"question": ..., "answer": ...}}; {_ONE_A_LINE}'
        )
    return value


def _parsed(line: str) -> Any:
    """As `parse_json`, with one decoder for all lines: to make one takes as long as to read a short line."""
    try:
        return _DECODER.decode(line)
    except RecursionError:
        raise ValueError("nested too deeply to be read") from None


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a key that is there twice: which of its values is meant?"""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError(f"the key {(first_twice(key for key, _ in pairs) or '')[:60]!r} is there twice")
    return table


_DECODER = json.JSONDecoder(object_pairs_hook=_table)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends. What is unpacked is counted while it is read, so a small file stays small."""
    read = 0
    try:
        with _opened(path) as file:
            for number in range(1, MAX_LINES + 2):
                raw = file.readline(MAX_LINE + 1)
                if not raw:
                    return
                read += len(raw)
                if number > MAX_LINES:
                    raise DataError(f"over {MAX_LINES:,} lines: take a part of them")
                if len(raw) > MAX_LINE:
                    raise DataError(f"line {number}: longer than {MAX_LINE // 2**20} MB")
                if read > MAX_BYTES:
                    raise DataError(f"over {MAX_BYTES // 2**20} MB once unpacked: take a part of its rows")
                yield number, _decoded(raw, number)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"not a whole gzip file ({error}): fetch it again") from None


def _opened(path: Path) -> BinaryIO:
    """Unpacked where its first bytes say that it is packed: a browser may change that, and keep the name."""
    with path.open("rb") as file:
        head = file.read(4)
    for magic, what in _OTHER_KINDS.items():
        if head.startswith(magic):
            raise DataError(what)
    if not head.startswith(_GZIP):
        return path.open("rb")
    return io.BufferedReader(cast(io.RawIOBase, gzip.open(path, "rb")))


def _decoded(raw: bytes, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        shown = raw[error.start : error.start + 1].hex()
        raise DataError(f"line {number}: not UTF-8 (byte 0x{shown}): save the file as UTF-8") from None
