"""Rows of any source: which reader a name asks for, and bounds before the first byte is read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from itertools import islice
from pathlib import Path
from stat import S_ISREG

from policies.tasks.data.hub import PREFIX, hub_rows
from policies.tasks.data.lines import csv_rows, json_rows
from policies.tasks.data.parquet import parquet_rows
from policies.tasks.data.row import MAX_BYTES, MAX_ROWS, DataError, DataMissing, Row

Reader = Callable[[Path, Collection[str]], Iterator[Row]]
READERS: Mapping[str, Reader] = {
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".json": json_rows,
    ".jsonl.gz": json_rows,
    ".csv": csv_rows,
    ".csv.gz": csv_rows,
    ".tsv": csv_rows,
}
PARQUET = ".parquet"
MAX_LISTED = 1000  # names in a folder, among which a mistyped one's is looked for
_JOIN = "of several, cat part-*.jsonl > all.jsonl makes one"


def read_rows(source: str, wanted: Collection[str], subset: str, split: str, revision: str) -> Iterator[Row]:
    """The rows of a file or `hf:` data set, in their order. Raises DataError, which names the source."""
    kept = 0
    found: Iterator[Row] = iter(())
    try:
        found = _rows(source, wanted, subset, split, revision)
        for number, row in enumerate(found, 1):
            kept += sum(len(row.columns.get(name) or "") for name in wanted)
            if number > MAX_ROWS or kept > MAX_BYTES:
                raise DataError(f"over {MAX_ROWS:,} rows or {MAX_BYTES // 2**20} MB: take a part of its rows")
            yield row
    except DataError as error:
        raise type(error)(f"{source}: {error}") from None
    finally:
        if isinstance(found, Generator):
            found.close()  # with files and processes, now and not when the error is forgotten


def _rows(source: str, wanted: Collection[str], subset: str, split: str, revision: str) -> Iterator[Row]:
    if source.startswith(PREFIX):
        return hub_rows(source.removeprefix(PREFIX), wanted, subset, split, revision)
    path = Path(source)
    _check_file(path)
    ending = _ending(path.name)
    if ending == PARQUET:
        return parquet_rows(path, wanted)
    if ending not in READERS:
        raise DataError(f"the name ends with none of {', '.join((*READERS, PARQUET))}")
    return READERS[ending](path, wanted)


def _check_file(path: Path) -> None:
    """Raises DataError for what is no plain file of a size to read: a pipe or a device has no end."""
    try:
        found = path.stat()
    except FileNotFoundError:
        if "*" in path.name:
            raise DataError(f"a path names one file: {_JOIN}") from None
        near = difflib.get_close_matches(path.name, _names_in(path.parent), n=1, cutoff=0.6)
        raise DataMissing(
            "no such file: put it back, or name another one"
            + (f"; did you mean {near[0]!r}?" if near else "")
        ) from None
    except OSError as error:
        raise DataMissing(f"cannot be read: {error.strerror}") from None
    if not S_ISREG(found.st_mode):
        raise DataError(f"not a plain file: name one file; {_JOIN}")
    if not found.st_size:
        raise DataError("the file is empty")
    if found.st_size > MAX_BYTES:
        raise DataError(
            f"{found.st_size / 2**20:,.0f} MB; at most {MAX_BYTES // 2**20}: take a part of it, such as its first "
            "lines (head -n 100000)"
        )


def _names_in(folder: Path) -> list[str]:
    """The files of a folder that could be data: a config lies beside them, and is none."""
    try:
        names = [entry.name for entry in islice(folder.iterdir(), MAX_LISTED)]
    except OSError:
        return []
    return [name for name in names if _ending(name) in (*READERS, PARQUET)]


def _ending(name: str) -> str:
    """In small letters, with what is under `.gz`."""
    path = Path(name.lower())
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
