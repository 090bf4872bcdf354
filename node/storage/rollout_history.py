"""The rollouts of a run as they are read: filtered, newest or best first, beside a running writer."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Literal

from node.storage.rollout_rows import (
    DOWN_SAMPLED,
    EQUAL_REWARDS,
    EQUAL_VERDICTS,
    TRAINED,
    UNTRAINED,
    Holdings,
    KeptRollout,
    RefusedGroup,
    RolloutQuery,
    unpack_image,
    unpack_texts,
)
from node.storage.store_file import reading
from policies.rollout import Finish, Image

_ORDERS: Final = {  # ids rise with rounds
    "newest": "r.id DESC",
    "best": "r.reward DESC, r.id DESC",
    "worst": "r.reward ASC, r.id DESC",
}
_COLUMNS: Final = (
    "r.id, r.group_id, g.round, g.task, g.seed, g.origin, r.reward, r.advantage, g.reason, r.finish, r.tokens, "
    "r.characters, r.place, i.width, i.height"
)
_VERDICTS: Final = {  # any other is a group's reason
    TRAINED: "r.advantage IS NOT NULL",
    UNTRAINED: "r.advantage IS NULL",
    EQUAL_REWARDS: f"g.reason IN {EQUAL_VERDICTS}",
    DOWN_SAMPLED: "r.advantage IS NULL AND g.reason IS NULL",
}


class RolloutHistory:
    """Read-only. A store of before, or none at all, holds no rollouts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, query: RolloutQuery) -> list[KeptRollout]:
        """At most `query.limit` rollouts, after the first `query.skip`. Raises StoreError."""
        where, values = _rollouts_where(query)
        order = _ORDERS[query.order]
        if query.order == "newest" and query.round is not None:
            order = f"g.origin IS NOT NULL, {order}"  # of one round, which is equally new, the own ones first
        return self._select(f"{where}ORDER BY {order} LIMIT ? OFFSET ?", [*values, query.limit, query.skip])

    def newest(self) -> int:
        """The highest id; 0 where no rollout is kept. Raises StoreError."""
        with self._reading() as db:
            found = db.execute("SELECT MAX(id) FROM rollouts").fetchone()[0] if db else None
        return int(found or 0)

    def fitting(self, query: RolloutQuery) -> int:
        """How many rollouts a query fits, without its limit. Raises StoreError."""
        where, values = _rollouts_where(query)
        return self._count(f"rollouts AS r JOIN rollout_groups AS g ON g.id = r.group_id {where}", values)

    def get(self, number: int) -> KeptRollout | None:
        """The rollout of this id; None where it is not (or no longer) there. Raises StoreError."""
        return next(iter(self._select("WHERE r.id = ?", [number])), None)

    def image(self, number: int) -> Image | None:
        """The image of this rollout; None where it has none. Raises StoreError."""
        with self._reading() as db:
            query = "SELECT width, height, channels, pixels FROM rollout_images WHERE rollout_id = ?"
            row = db.execute(query, (number,)).fetchone() if db else None
            return unpack_image(row) if row else None

    def refused(self, query: RolloutQuery) -> list[RefusedGroup]:
        """At most `query.limit` refused groups after the first `query.skip`, newest first. Raises StoreError."""
        where, values = _refused_where(query)
        columns = "round, peer, task, seed, rollouts, reason, detail"
        with self._reading() as db:
            query_text = f"SELECT {columns} FROM refused_groups AS g {where}ORDER BY round DESC, id DESC"
            bounds = [query.limit, query.skip]
            rows = db.execute(f"{query_text} LIMIT ? OFFSET ?", [*values, *bounds]).fetchall() if db else []
        return [RefusedGroup(*row) for row in rows]

    def newest_refusals(self) -> dict[str, str]:
        """By peer, what was wrong with the group of it that was refused last. Raises StoreError."""
        with self._reading() as db:
            newest = "SELECT peer, detail, MAX(id) FROM refused_groups GROUP BY peer"
            return {peer: detail for peer, detail, _ in (db.execute(newest).fetchall() if db else [])}

    def refused_fitting(self, query: RolloutQuery) -> int:
        """How many refused groups a query fits, without its limit. Raises StoreError."""
        where, values = _refused_where(query)
        return self._count(f"refused_groups AS g {where}", values)

    def names(self, kind: Literal["task", "peer", "reason"], *, refused: bool) -> list[str]:
        """Those that what is kept has, of rollouts or of refused groups, in order. Raises StoreError."""
        table = "refused_groups" if refused else "rollout_groups"
        column = "origin" if kind == "peer" and not refused else kind
        with self._reading() as db:
            query = f"SELECT DISTINCT {column} FROM {table} WHERE {column} > '' ORDER BY 1"
            return [name for (name,) in (db.execute(query).fetchall() if db else [])]

    def holdings(self) -> Holdings:
        """Raises StoreError."""
        with self._reading() as db:
            if db is None:
                return Holdings(0, 0, None, None, 0)
            kept = db.execute("SELECT COUNT(*) FROM rollouts").fetchone()[0]
            sums = "SELECT COALESCE(SUM(dropped), 0), COALESCE(SUM(size), 0) FROM rollout_rounds"
            dropped, size = db.execute(sums).fetchone()
            first = db.execute("SELECT MIN(round) FROM rollout_rounds WHERE size > 0").fetchone()[0]
            thinned = db.execute("SELECT MAX(round) FROM rollout_rounds WHERE dropped > 0").fetchone()[0]
        return Holdings(int(kept), int(dropped), first, thinned, int(size))

    def _count(self, rows: str, values: list[Any]) -> int:
        with self._reading() as db:
            return int(db.execute(f"SELECT COUNT(*) FROM {rows}", values).fetchone()[0]) if db else 0

    def _select(self, condition: str, values: list[Any]) -> list[KeptRollout]:
        """Figures first, for as many rows as are shown, and then their texts: no text is read in vain."""
        query = (
            f"SELECT {_COLUMNS} FROM rollouts AS r JOIN rollout_groups AS g ON g.id = r.group_id "
            f"LEFT JOIN rollout_images AS i ON i.rollout_id = r.id {condition}"
        )
        with self._reading() as db:
            if db is None:
                return []
            db.execute("BEGIN")  # one state of the store for figures and texts
            rows = db.execute(query, values).fetchall()
            texts = {group: _texts(db, group) for group in {row[1] for row in rows}}
            return [_rollout(row, *texts[row[1]]) for row in rows]

    def _reading(self) -> AbstractContextManager[sqlite3.Connection | None]:
        return reading(self._path, "rollout_texts")


def _rollouts_where(query: RolloutQuery) -> tuple[str, list[Any]]:
    conditions, values = _conditions(query, "g.origin")
    if query.external is not None:
        conditions.append(f"g.origin IS {'NOT ' if query.external else ''}NULL")
    if query.right is not None:
        conditions.append(f"r.reward {'>=' if query.right else '<'} 1.0")
    if query.verdict in _VERDICTS:
        conditions.append(_VERDICTS[query.verdict])
    elif query.verdict is not None:
        conditions.append("g.reason = ?")
        values.append(query.verdict)
    for column, number in (("g.id = ?", query.group), ("r.id > ?", query.after)):
        if number is not None:
            conditions.append(column)
            values.append(number)
    return _where(conditions, values)


def _refused_where(query: RolloutQuery) -> tuple[str, list[Any]]:
    conditions, values = _conditions(query, "g.peer")
    if query.verdict is not None:
        conditions.append("g.reason = ?")
        values.append(query.verdict)
    return _where(conditions, values)


def _where(conditions: list[str], values: list[Any]) -> tuple[str, list[Any]]:
    return (f"WHERE {' AND '.join(conditions)} " if conditions else ""), values


def _conditions(query: RolloutQuery, peer_column: str) -> tuple[list[str], list[Any]]:
    """Those that rollouts and refused groups share."""
    conditions: list[str] = []
    values: list[Any] = []
    if query.round is not None:
        conditions.append("g.round = ?")
        values.append(query.round)
    if query.task is not None:
        conditions.append("(g.task = ? OR substr(g.task, 1, ?) = ?)")
        values += [query.task, len(query.task) + 1, f"{query.task}@"]
    if query.seed is not None:
        conditions.append("g.seed = ?")
        values.append(query.seed)
    if query.peer is not None:
        conditions.append(f"substr({peer_column}, ?) = ?")
        values += [-len(query.peer), query.peer]
    return conditions, values


def _texts(db: sqlite3.Connection, group: int) -> tuple[str, str, list[str]]:
    (packed,) = db.execute("SELECT content FROM rollout_texts WHERE group_id = ?", (group,)).fetchone()
    return unpack_texts(packed)


def _rollout(row: tuple[Any, ...], prompt: str, answer: str, texts: list[str]) -> KeptRollout:
    number, group, round_number, task, seed, origin, reward, advantage, reason, *rest = row
    finish, tokens, characters, place, width, height = rest
    return KeptRollout(
        id=number,
        group=group,
        round=round_number,
        task=task,
        seed=seed,
        origin=origin,
        reward=reward,
        advantage=advantage,
        reason=DOWN_SAMPLED if reason is None and advantage is None else reason,
        finish=Finish(finish),
        tokens=tokens,
        characters=characters,
        text=texts[place],
        prompt=prompt,
        answer=answer,
        image=None if width is None else (width, height),
    )
