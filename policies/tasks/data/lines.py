"""Rows of JSONL and CSV, plain or in gzip. Nothing is evaluated: a formula in a CSV is the text that it is."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from policies.tasks.data.row import MAX_BYTES, MAX_ROWS, DataError, Row, checked_text, text_of

MAX_LINE = 4 * 2**20  # bytes
MAX_LINES = 4 * MAX_ROWS  # a quoted value of CSV may have several; a million take a second


def json_rows(path: Path) -> Iterator[Row]:
    """One object a line; empty lines are passed over. Raises DataError that names the line."""
    for number, line in _lines(path):
        if line.strip():
            place = f"line {number}"
            table = _object(line, place)
            yield Row(place, {key: text_of(value, place, key) for key, value in table.items()})


def csv_rows(path: Path) -> Iterator[Row]:
    """A header, then rows of as many values. Raises DataError that names the line."""
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    header: list[str] | None = None
    try:
        for values in reader:
            place = f"line {reader.line_num}"
            if not values:
                continue
            if header is None:
                header = _header(values)
                continue
            if len(values) != len(header):
                raise DataError(
                    f"{place}: {len(values)} values for {len(header)} columns: put commas in quotes"
                )
            pairs = zip(header, values, strict=True)
            yield Row(place, {key: checked_text(value, place, key) or None for key, value in pairs})
    except csv.Error as error:
        raise DataError(f"line {reader.line_num}: not CSV ({error}): is a quote not closed?") from None


def _header(values: list[str]) -> list[str]:
    header = [value.strip() for value in values]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or "" in header:
        what = f"names {twice[0]!r} twice" if twice and twice[0] else "has a column without a name"
        raise DataError(f"line 1: the header {what}: name each column once")
    return header


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except RecursionError:
        raise DataError(f"{place}: nested too deeply to be read") from None
    except ValueError as error:
        raise DataError(f"{place}: not JSON ({error}); a file of JSONL has one object a line") from None
    if not isinstance(value, dict):
        kind = {"list": "a list", "str": "a text"}.get(type(value).__name__, f"a {type(value).__name__}")
        raise DataError(f'{place}: {kind} in place of an object such as {{"question": ..., "answer": ...}}')
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


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
    if path.suffix != ".gz":
        return path.open("rb")
    return io.BufferedReader(cast(io.RawIOBase, gzip.open(path, "rb")))


def _decoded(raw: bytes, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        shown = raw[error.start : error.start + 1].hex()
        raise DataError(f"line {number}: not UTF-8 (byte 0x{shown}): save the file as UTF-8") from None
