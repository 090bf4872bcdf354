"""Drafts: what is written under a name of its own beside its place, and then renamed whole into it.

Each writer holds a lock on its draft, so that several of one place leave each other's alone, and what a killed one
left is known by its free lock and removed by the next.
"""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

ATTEMPTS: Final = 5  # to make a draft: one that is not locked yet may be taken for a leftover
HEX: Final = 16


@contextmanager
def draft_folder(place: Path) -> Iterator[Path]:
    """A new folder beside `place`, which goes at the end unless it was renamed. Raises OSError."""

    def make(draft: Path) -> int:
        draft.mkdir()
        return os.open(draft, os.O_RDONLY)

    draft, lock = _begin(place, make)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


@contextmanager
def draft_file(place: Path, mode: int) -> Iterator[tuple[Path, int]]:
    """A new file beside `place` and its descriptor, which the caller leaves open. Raises OSError."""
    draft, descriptor = _begin(place, lambda draft: os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield draft, descriptor
    finally:
        draft.unlink(missing_ok=True)
        os.close(descriptor)


def clear_drafts(place: Path) -> bool:
    """Removes what killed writers of `place` left there. Whether another writes it right now."""
    left = _names(glob.escape(place.name), place.parent)
    written = [draft for draft in left if _is_written(draft)]
    return bool(written)


def clear_all_drafts(folder: Path) -> None:
    """Removes what killed writers of anything left in a folder that is ours alone."""
    for draft in _names("*", folder):
        _is_written(draft)


def _names(name: str, folder: Path) -> list[Path]:
    return list(folder.glob(f".draft-{name}-{'[0-9a-f]' * HEX}"))


def _begin(place: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """A draft that this process made and holds."""
    clear_drafts(place)
    for attempt in range(ATTEMPTS):
        draft = place.with_name(f".draft-{place.name}-{secrets.token_hex(HEX // 2)}")
        try:
            descriptor = make(draft)
        except FileNotFoundError:  # cleared by another before it was locked; or there is no such folder
            if attempt + 1 == ATTEMPTS:
                raise
            continue
        with suppress(OSError):  # a file system without locks, where nobody can clear either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_same(draft, descriptor):
            return draft, descriptor
        os.close(descriptor)
    raise FileExistsError(f"{place} cannot be written: others clear its drafts all the time; try again")


def _is_written(draft: Path) -> bool:
    """Whether somebody holds the draft; it is gone where nobody does."""
    try:
        descriptor = os.open(draft, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
    except BlockingIOError:
        return True
    except OSError:  # another's folder, or one without locks
        return False
    finally:
        os.close(descriptor)
    return False


def _is_same(path: Path, descriptor: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False
