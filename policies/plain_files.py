"""Files and words that others left, read so that none can hold the reader up or exhaust its stack.

A pipe, a socket or a device may have no end, and to open one may wait for ever. JSON that is nested by the thousand is
damage like any other.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def require_plain(path: Path) -> None:
    """Raises OSError for what is there and no file that has an end. A folder is left to whoever opens it."""
    with suppress(FileNotFoundError):
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise OSError(f"{path} is a pipe, a socket or a device, no plain file: move it away")


def require_plain_files(folder: Path) -> None:
    """For a folder of which libraries open what they know. Raises OSError."""
    for path in sorted(folder.rglob("*")):
        require_plain(path)


def read_bytes(path: Path) -> bytes:
    """Raises OSError."""
    require_plain(path)
    return path.read_bytes()


def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Raises OSError, and ValueError for what is no such text."""
    require_plain(path)
    return path.read_text(encoding=encoding, errors=errors)


def read_json(path: Path) -> Any:
    """Raises OSError, and ValueError for what is no JSON."""
    return parse_json(read_text(path))


def read_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file; empty where there is no such file, or it is damaged or holds something else."""
    try:
        read = read_json(path)
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def parse_json(text: str | bytes, table: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """`table` makes an object of its pairs. Raises ValueError."""
    try:
        return json.loads(text, object_pairs_hook=table)
    except RecursionError:
        raise ValueError("nested too deeply to be read") from None
