"""The rollouts' tables: written within the transaction of their round, and kept below a number of bytes.

Beyond the bound the oldest rounds give way: the older half is thinned to one group of each task and peer, and the
oldest of them go wholly.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.storage.rollout_rows import RefusedGroup, RoundRollouts, ScoredGroup, pack_image, pack_texts

log = logging.getLogger(__name__)

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS rollout_rounds (
    round INTEGER PRIMARY KEY, size INTEGER NOT NULL, thinned INTEGER NOT NULL, dropped INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS rollout_groups (
    id INTEGER PRIMARY KEY, round INTEGER NOT NULL, task TEXT NOT NULL, seed INTEGER NOT NULL, origin TEXT,
    reason TEXT, size INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS rollout_groups_by_round ON rollout_groups (round);
CREATE TABLE IF NOT EXISTS rollouts (
    id INTEGER PRIMARY KEY, group_id INTEGER NOT NULL, place INTEGER NOT NULL, reward REAL NOT NULL, advantage REAL,
    finish TEXT NOT NULL, tokens INTEGER NOT NULL, characters INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS rollouts_by_group ON rollouts (group_id);
CREATE INDEX IF NOT EXISTS rollouts_by_reward ON rollouts (reward);
CREATE TABLE IF NOT EXISTS rollout_texts (group_id INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rollout_images (
    rollout_id INTEGER PRIMARY KEY, width INTEGER NOT NULL, height INTEGER NOT NULL, channels INTEGER NOT NULL,
    pixels BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS refused_groups (
    id INTEGER PRIMARY KEY, round INTEGER NOT NULL, peer TEXT NOT NULL, task TEXT NOT NULL, seed INTEGER,
    rollouts INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS refused_groups_by_round ON refused_groups (round);
"""

# Bytes that rows and their indexes take in the file, texts and images apart: measured.
GROUP_BYTES: Final = 128
ROLLOUT_BYTES: Final = 72
REFUSED_BYTES: Final = 192
ROOM: Final = 64  # one part in so many is freed at a time, so that most rounds need not look for room
PAGE: Final = 4096  # bytes, of SQLite
MAX_REFUSED: Final = 64  # rows a round; the events count all


@dataclass(slots=True)
class RolloutWriter:
    """Writes into a connection whose transactions are the caller's."""

    db: sqlite3.Connection
    limit: int  # bytes; 0 keeps nothing
    _size: int | None = None  # bytes of all rounds, as last known

    def write(self, kept: RoundRollouts) -> None:
        """Adds a round, and makes room for it. A round that is larger than the bound is not kept."""
        if not self.limit:
            return
        sizes = [self._write_group(kept.round, each) for each in kept.groups]
        refused = kept.refused[:MAX_REFUSED]
        self._write_refused(refused)
        size = sum(sizes) + REFUSED_BYTES * len(refused)
        self.db.execute(
            "INSERT INTO rollout_rounds VALUES (?, ?, 0, 0) ON CONFLICT (round) DO UPDATE SET size = size + ?",
            (kept.round, size, size),
        )
        # Where the size is not known it is counted now, with this round in it.
        total = self._counted_size() if self._size is None else self._size + size
        self._size = self._thin(total) if total > self.limit else total

    def rewind(self, to_round: int) -> None:
        """Forgets the rollouts of later rounds."""
        later = self.db.execute("SELECT round FROM rollout_rounds WHERE round > ?", (to_round,)).fetchall()
        for (number,) in later:
            self._drop_round(number)
        self.db.execute("DELETE FROM rollout_rounds WHERE round > ?", (to_round,))
        self._size = None

    def forget_size(self) -> None:
        """After a transaction that was undone."""
        self._size = None

    def _counted_size(self) -> int:
        return int(self.db.execute("SELECT COALESCE(SUM(size), 0) FROM rollout_rounds").fetchone()[0])

    def _write_group(self, round_number: int, each: ScoredGroup) -> int:
        """Returns the bytes that it takes."""
        group, texts = each.group, pack_texts(each.group)
        images = {
            place: pack_image(rollout.image)
            for place, rollout in enumerate(group.rollouts)
            if rollout.image is not None
        }
        pixels = sum(stored_bytes(len(packed)) for *_, packed in images.values())
        size = GROUP_BYTES + ROLLOUT_BYTES * len(group.rollouts) + stored_bytes(len(texts)) + pixels
        row = (round_number, group.problem.task, group.problem.seed, group.origin, each.reason, size)
        number = self.db.execute(
            "INSERT INTO rollout_groups (round, task, seed, origin, reason, size) VALUES (?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        self.db.execute("INSERT INTO rollout_texts VALUES (?, ?)", (number, texts))
        pairs = zip(group.rollouts, each.advantages, strict=True)
        for place, (rollout, advantage) in enumerate(pairs):
            tokens = sum(len(segment.token_ids) for segment in rollout.segments)
            inserted = self.db.execute(
                "INSERT INTO rollouts (group_id, place, reward, advantage, finish, tokens, characters) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (number, place, rollout.reward, advantage, rollout.finish.value, tokens, len(rollout.text)),
            ).lastrowid
            if place in images:
                self.db.execute(
                    "INSERT INTO rollout_images VALUES (?, ?, ?, ?, ?)", (inserted, *images[place])
                )
        return size

    def _write_refused(self, refused: Sequence[RefusedGroup]) -> None:
        self.db.executemany(
            "INSERT INTO refused_groups (round, peer, task, seed, rollouts, reason, detail) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(r.round, r.peer, r.task, r.seed, r.rollouts, r.reason, r.detail) for r in refused],
        )

    def _thin(self, total: int) -> int:
        """Makes room, oldest first; returns the bytes that are left."""
        before, enough = total, self.limit - self.limit // ROOM
        held = self.db.execute(
            "SELECT round, size, thinned FROM rollout_rounds WHERE size > 0 ORDER BY round"
        ).fetchall()
        thin = deque((number, size) for number, size, thinned in held if thinned)
        whole = deque((number, size) for number, size, thinned in held if not thinned)
        while total > enough and (whole or thin):
            if len(whole) > len(thin):
                number, size = whole.popleft()
                freed = self._thin_round(number, size)
                thin.append((number, size - freed))
            else:
                number, freed = thin.popleft()
                self._drop_round(number)
            total -= freed
        log.debug("%d bytes of old rollouts gave way (store.rollout_bytes)", before - total)
        return total

    def _thin_round(self, number: int, size: int) -> int:
        """Leaves one group of each task and peer; returns the bytes that came free."""
        surplus = self.db.execute(
            "SELECT id, size FROM rollout_groups WHERE round = ? AND id NOT IN "
            "(SELECT MIN(id) FROM rollout_groups WHERE round = ? GROUP BY task, origin)",
            (number, number),
        ).fetchall()
        dropped, freed = self._delete([group for group, _ in surplus]), sum(size for _, size in surplus)
        self.db.execute(
            "UPDATE rollout_rounds SET size = ?, thinned = 1, dropped = dropped + ? WHERE round = ?",
            (size - freed, dropped, number),
        )
        return int(freed)

    def _drop_round(self, number: int) -> None:
        groups = self.db.execute("SELECT id FROM rollout_groups WHERE round = ?", (number,)).fetchall()
        dropped = self._delete([group for (group,) in groups])
        self.db.execute("DELETE FROM refused_groups WHERE round = ?", (number,))
        self.db.execute(
            "UPDATE rollout_rounds SET size = 0, thinned = 1, dropped = dropped + ? WHERE round = ?",
            (dropped, number),
        )

    def _delete(self, groups: Sequence[int]) -> int:
        """Deletes groups with all that belongs to them; returns how many rollouts those were."""
        dropped = 0
        for group in groups:
            self.db.execute(
                "DELETE FROM rollout_images WHERE rollout_id IN (SELECT id FROM rollouts WHERE group_id = ?)",
                (group,),
            )
            dropped += self.db.execute("DELETE FROM rollouts WHERE group_id = ?", (group,)).rowcount
            self.db.execute("DELETE FROM rollout_texts WHERE group_id = ?", (group,))
            self.db.execute("DELETE FROM rollout_groups WHERE id = ?", (group,))
        return dropped


def stored_bytes(length: int) -> int:
    """What a text or image of so many bytes takes of the file: rows share a page, or have one and some beyond it."""
    rows_a_page = PAGE // (length + 8)
    return PAGE // rows_a_page if rows_a_page else length + PAGE // 2
