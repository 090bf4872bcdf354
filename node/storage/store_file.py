"""The store's file: opened for its owner alone, read beside a running writer, its errors said in words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from node.storage.run_folder import number_of
from policies.error_words import brief
from policies.plain_files import require_plain

OWNER_ALONE: Final = 0o600  # what the policy and its peers wrote is nobody else's to read
VERSION: Final = 2  # of the tables; 1 had events alone, and is brought up to date by making what it lacks


class StoreError(RuntimeError):
    """An event store that cannot be read or written; the message names it and what to do."""


def open_store(path: Path, schema: str) -> sqlite3.Connection:
    """The store for its one writer, made where it is missing, with the tables of `schema`.

    A store of before keeps its rows and gets the tables that it lacks. Raises StoreError for a file that is no store,
    or one of a later version.
    """
    _require_plain(path)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ALONE))
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        with suppress(FileNotFoundError, PermissionError):  # another owner's stays as it is
            path.with_name(name).chmod(OWNER_ALONE)
    with explained(path):
        # The loop and its signal handling stay in one thread; the check guards against a second writer.
        db = sqlite3.connect(path, timeout=30)
        try:
            _check_version(db, path)
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(schema)
            db.execute(f"PRAGMA user_version={VERSION}")
        except BaseException:
            db.close()
            raise
    return db


class HeldFile:
    """The file that a writer has open, which may be taken out of its folder meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = self._now()

    def check(self) -> None:
        """Raises StoreError where it lies in its folder no more: what is written would be lost.

        A folder that was moved with all that it holds is not this one's to tell.
        """
        now = self._now()
        if now[0] == self._numbers[0] and now[1] != self._numbers[1]:
            raise StoreError(
                f"{self._path} was taken away while this run wrote to it, and its figures and rollouts with it: put it "
                "back before you go on, else a new one begins; checkpoints are kept"
            )

    def _now(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """Which folder lies there, and which file."""
        return number_of(self._path.parent), number_of(self._path)


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    if int(db.execute("PRAGMA user_version").fetchone()[0]) > VERSION:
        raise StoreError(f"{path} is of a later version of murmur: update murmur, or move it away")


@contextmanager
def reading(path: Path, table: str) -> Iterator[sqlite3.Connection | None]:
    """The store, read-only; None where it is absent or has no such table (yet). Raises StoreError."""
    if not path.exists():
        yield None
        return
    _require_plain(path)
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with explained(path), closing(sqlite3.connect(uri, uri=True, timeout=30)) as db:
        _check_version(db, path)
        found = db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        yield db if found else None


def _require_plain(path: Path) -> None:
    try:
        require_plain(path)
    except OSError as error:
        raise StoreError(brief(error)) from None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of SQLite, and rows that are not of this version, as a StoreError that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            help = "another program has it open and writes: end that one"
        elif path.is_dir() or "no such" in str(error):
            help = "it is no event store: move it away; checkpoints do not need it"
        else:
            help = "see that its disk has space and lets itself be written (df -h, ulimit -f)"
        raise StoreError(f"{path} cannot be used ({error}): {help}") from error
    except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{path} is damaged or of another version ({error}): move it away; checkpoints do not need it"
        ) from error
