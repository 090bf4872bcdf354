"""A history that is looked at again and again, as a page on a running node does every few seconds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from node.storage.events import KINDS, Event, History
from policies.plain_files import parse_json


@dataclass(slots=True)
class _Kept:
    """What was read of one kind of event: all of it up to the row `last`, which was written at `at`."""

    last: int = 0
    at: float = 0.0
    events: list[tuple[float, Event]] = field(default_factory=list)

    def holds(self, db: sqlite3.Connection, kind: str) -> bool:
        """Whether the store still has what was read."""
        query = "SELECT time FROM events WHERE id = ? AND kind = ?"
        return not self.events or db.execute(query, (self.last, kind)).fetchone() == (self.at,)


class KeptHistory(History):
    """Keeps what it has read, so that a look costs what is new since the last one. For one thread at a time.

    Events are only ever appended, but by a resumed run, which first forgets its newest rounds and may use their
    row numbers again. The last row that was read is then gone or of another time, and all is read anew.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._kept: dict[str, _Kept] = {}

    def _timed(self, kind: str) -> Iterator[tuple[float, Event]]:
        with self._reading() as db:
            if db is None:
                return
            kept = self._kept.setdefault(kind, _Kept())
            if not kept.holds(db, kind):
                kept = self._kept[kind] = _Kept()
            query = "SELECT id, time, data FROM events WHERE kind = ? AND id > ? ORDER BY id"
            for row, at, data in db.execute(query, (kind, kept.last)):
                kept.last, kept.at = row, at
                kept.events.append((at, KINDS[kind](**parse_json(data))))
        yield from kept.events
