"""Models that were converted once, kept in the user's cache: found by the digest of what they were made from.

An entry is a model folder and the sums of its files. One that is damaged is noticed when it is read, and made again.
The least recently used give way once all take more than KEPT_BYTES; the folders may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from policies.drafts import draft_folder
from policies.error_words import brief
from policies.local_cache import store_folder
from policies.plain_files import read_json

logger = logging.getLogger(__name__)
T = TypeVar("T")

KEPT_BYTES = 16 * 10**9
FREE_SHARE = 0.5  # of the disk's free bytes that a new entry may take
PREFIX = "converted-"
SUMS = "sums.json"
CHUNK = 2**24  # bytes
# What libraries raise at files that are not whole: each reader has errors of its own.
DAMAGED = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, AssertionError)


def digest_of(file: Path, *conditions: str) -> str:
    """Thirty-two hex digits over the file's bytes and over what else decides the outcome. Raises OSError."""
    with file.open("rb") as opened:
        content = hashlib.file_digest(opened, "sha256").hexdigest()
    return hashlib.sha256("\n".join((content, *conditions)).encode()).hexdigest()[:32]


class ConversionCache:
    """The entries under one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, key: str, read: Callable[[Path], T]) -> T | None:
        """What `read` makes of the entry; None where there is none, or it was damaged and is gone now."""
        folder = self._folder(key)
        if not folder.is_dir():
            return None
        try:
            if _sums(folder) != read_json(folder / SUMS):
                raise ValueError("its files are not those that were written")
            found = read(folder)
            os.utime(folder)  # used now
        except DAMAGED as error:
            logger.warning("%s is damaged (%s): it is made again", folder, brief(error))
            _discard(folder)
            return None
        return found

    def keep(self, key: str, write: Callable[[Path], object], is_whole: Callable[[Path], bool]) -> None:
        """Keeps what `write` puts into a folder if `is_whole` says so of it. Without room nothing is kept, and told."""

        def fill(folder: Path) -> None:
            write(folder)
            size = _size(folder)
            if size > min(KEPT_BYTES, FREE_SHARE * (shutil.disk_usage(folder).free + size)):
                raise OSError(f"{size / 1e9:.1f} GB are more than the cache may take of this disk")
            if not is_whole(folder):
                raise OSError("it is not read back as it was written")
            (folder / SUMS).write_text(json.dumps(_sums(folder)), encoding="utf-8")

        try:
            store_folder(self._folder(key), fill)
            self._prune(key)
        except OSError as error:
            logger.warning(
                "the converted model is not kept, so the next start converts it again: %s", brief(error)
            )

    def _prune(self, newest: str) -> None:
        """Removes the least recently used entries beyond KEPT_BYTES, `newest` the last of all."""
        entries = sorted(self._root.glob(f"{PREFIX}*"), key=_last_use, reverse=True)
        entries.sort(key=lambda entry: entry != self._folder(newest))
        taken = 0
        for entry in entries:
            taken += _size(entry)
            if taken > KEPT_BYTES:
                logger.info("%s gives way to newer ones", entry)
                _discard(entry)

    def _folder(self, key: str) -> Path:
        return self._root / f"{PREFIX}{key}"


def _sums(folder: Path) -> dict[str, list[int]]:
    """Of each file its size and a sum over its words: ten times as fast as a digest, and no single fault escapes it.

    A guard against disks that fill up and machines that go down, not against whoever can write here.
    """
    return {path.name: _sum(path) for path in sorted(folder.iterdir()) if path.name != SUMS}


def _sum(file: Path) -> list[int]:
    total = size = 0
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            size += len(chunk)
            words = np.frombuffer(chunk + bytes(-len(chunk) % 8), np.uint64)
            total += int(words.sum())  # of one chunk modulo 2^64
    return [size, total]


def _size(folder: Path) -> int:
    """Bytes; 0 of a folder that another process removes meanwhile."""
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except FileNotFoundError:
        return 0


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _discard(folder: Path) -> None:
    """Out of its place at once, then removed: another process finds it whole or not at all."""
    try:
        with draft_folder(folder) as aside:
            folder.rename(aside / folder.name)
    except FileNotFoundError:
        logger.info("%s was removed by another process", folder.name)
