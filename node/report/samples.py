"""Rollouts of a round that go to trackers beside its figures: read from the store, cut, and made visible."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import KeptRollout, RolloutQuery
from swarm.visible_text import visible

SHOWN_CHARACTERS: Final = 2_000  # of a text or prompt
NAME_CHARACTERS: Final = 200
Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One rollout as a tracker shows it: a row of plain cells, harmless in a terminal and in Markdown's code."""

    id: int  # as `murmur rollouts show` takes it
    origin: str  # own, or a PeerID
    task: str
    seed: int
    reward: float
    advantage: float | None
    reason: str  # why it was not trained on
    prompt: str
    text: str

    @classmethod
    def of(cls, rollout: KeptRollout) -> Sample:
        """An image has no text; its id leads to it."""
        return cls(
            rollout.id,
            _name(rollout.origin or "own"),
            _name(rollout.task),
            rollout.seed,
            _finite(rollout.reward) or 0.0,
            _finite(rollout.advantage),
            _name(rollout.reason or ""),
            visible(rollout.prompt, SHOWN_CHARACTERS),
            visible(rollout.text, SHOWN_CHARACTERS),
        )

    @property
    def row(self) -> list[Cell]:
        """In the order of COLUMNS."""
        return [getattr(self, name) for name in COLUMNS]


COLUMNS: Final = tuple(field.name for field in fields(Sample))


def samples_of(store: Path, round_number: int, count: int) -> list[Sample]:
    """At most `count` rollouts of one round, half of them of peers where there are such; the own ones go by their
    rewards, a best and a worst in turn. Raises StoreError.
    """
    history = RolloutHistory(store)
    theirs = history.find(RolloutQuery(round=round_number, external=True, limit=count // 2))
    wanted = count - len(theirs)
    best = history.find(RolloutQuery(round=round_number, external=False, order="best", limit=wanted))
    worst = history.find(RolloutQuery(round=round_number, external=False, order="worst", limit=wanted))
    own: dict[int, KeptRollout] = {}
    for rollout in _in_turn(best, worst):
        own.setdefault(rollout.id, rollout)
    return [Sample.of(rollout) for rollout in [*own.values()][:wanted] + theirs]


def _in_turn(best: list[KeptRollout], worst: list[KeptRollout]) -> Iterator[KeptRollout]:
    for pair in zip(best, worst, strict=True):  # the same rollouts in two orders
        yield from pair


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _name(text: str) -> str:
    return visible(text, NAME_CHARACTERS, lines=False)
