"""The event store of one run: SQLite, append-only, written by the loop and read by everything people see.

Rows become typed events here and nowhere else. Readers in other processes (demo, dashboard, peers) open it read-only.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from node.storage import rollout_writer
from node.storage.rollout_rows import RoundRollouts
from node.storage.store_file import HeldFile, explained, open_store, reading
from policies.plain_files import parse_json

EVENTS = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, round INTEGER NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_kind ON events (kind, round);
"""


@dataclass(frozen=True, slots=True)
class RoundEvent:
    """One finished round. Counts are of this round alone; rewards are means in [0, 1]."""

    round: int
    reward: float  # of the own rollouts
    rewards_by_task: dict[str, float]
    published: int  # own groups that peers could fetch from now on
    received: int  # groups that arrived and passed every check
    set_aside: int  # of those, groups whose rewards are all equal
    refused: dict[str, int]  # groups or records refused, by reason
    trained_local: int  # groups in the update
    trained_external: int
    missing_external: int  # groups the sampler wanted from peers and did not have
    pool: int  # groups waiting after the draw
    peers: int  # distinct senders of what was received
    policy_version: int
    loss: float | None  # None: no group had an advantage, so the weights stayed
    grad_norm: float | None
    entropy: float | None
    tokens: int  # completion tokens sampled
    seconds: float
    cpu_seconds: float  # of the node in the round, and of its transport since the round before
    stage_one: float  # share right in the first rollouts of the problems decided on: how easy they were
    hard: int  # of those problems, the ones with less than half right
    dropped: dict[str, int]  # own groups not trained on, by reason
    carried: int  # rollouts that earlier rounds had left unfinished
    left: int  # rollouts that this round left unfinished
    idle_share: float  # of the row-steps that batches kept whole would have taken, 0..1
    stale_share: float  # of the trained own tokens, those that an older policy version sampled
    alone: bool = False  # peers were wanted and silent
    external_reward: float | None = None  # mean of the external groups in the update, as scored here
    transport_cpu_seconds: float = 0.0  # of `cpu_seconds`: by the transport's process and its daemon
    diverged: str | None = None  # why the update was undone; the groups that it had drawn are spent
    cut_share: float = 0.0  # of the own finished rollouts, those that reached the cap before they ended
    # Fresh own tokens as the trainer scored them against what the sampler recorded: absolute differences in nats,
    # and the share that was clipped. None: no fresh token was scored.
    logprob_mean: float | None = None
    logprob_largest: float | None = None
    fresh_clipped: float | None = None
    disagreement: str | None = None  # what to do, where they differ by more than rounding
    shortage: str | None = None  # what the update did about too little memory, and what to set
    update_peak_bytes: int | None = None  # of memory, beyond what was in use before the update
    phases: dict[str, float] = field(default_factory=dict)  # wall seconds, by `PHASES` of node.runtime
    no_verdict: int = 0  # own rollouts that their verifier came to no end with; left out of their groups
    why_unjudged: str | None = None  # the first reason for it
    # Nats a trained token to the model without its adapter; None where trainer.beta is 0.
    kl: float | None = None
    # Problems drawn and passed over: their prompts are longer than policy.prompt.max_tokens.
    skipped_prompts: int = 0

    @property
    def unjudged(self) -> bool:
        """Whether there were own rollouts, and no verifier came to an end with any."""
        return self.no_verdict > 0 and not self.rewards_by_task

    @property
    def silence(self) -> str:
        """What the round was trained on while no peers were heard; empty where they were."""
        if not self.alone:
            return ""
        if self.pool:
            return f"no peers heard; {self.pool} of their groups still wait"
        if self.trained_external:
            return "no peers heard; the last groups of theirs that waited were trained on"
        return "no peers heard, training alone"


@dataclass(frozen=True, slots=True)
class EvaluationEvent:
    """pass@1 on held-out problems, by task and over all."""

    round: int
    reward: float
    rewards_by_task: dict[str, float]
    # Share of answers whose reward is that of a right one; None before it was counted.
    right: float | None = None
    right_by_task: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProblemEvent:
    """One problem that a round decided on: how hard it was, and what became of its group."""

    round: int
    task: str
    seed: int
    correct: int  # of the rollouts of stage 1
    rollouts: int  # of stage 1
    sampled: int  # rollouts in all
    reward: float  # mean over all
    dropped: str | None  # why it was not trained on


@dataclass(frozen=True, slots=True)
class PeerEvent:
    """What one peer's records came to in one round."""

    round: int
    peer: str
    received: int
    set_aside: int
    refused: dict[str, int]
    left_out: dict[str, int] = field(default_factory=dict)  # rollouts of groups that were received, by reason
    standing: str = ""  # known | newcomer | resting, after the round
    why: str = ""  # what of its record, which fades, makes it so
    # Whether its right answers would make own ones likelier, -1 to 1, and the standard error. None: not measured.
    usefulness: float | None = None
    usefulness_error: float | None = None
    habits: float = 0.0  # groups of which a part was left out of updates, as nobody else writes it; fades
    address: str = ""  # kind of the one that its last body was said to be at: public IPv4; empty before any


@dataclass(frozen=True, slots=True)
class ExternalEvent:
    """One group of a peer that an update trained on. A peer gives each problem once."""

    round: int
    peer: str
    task: str
    seed: int


@dataclass(frozen=True, slots=True)
class LifeEvent:
    """A node that starts, resumes, joins its swarm, stops or ends; `note` is one readable line.

    `what`: of the run started, resumed, model, joined, report, diverged, stopped, finished or baseline; of its rounds
    alone, heard, same seed, cut, no verdict, skipped or no signal; of the network same key, foreign values, refused by
    peers, withheld, clock or clock right.

    `facts`: of a start and a resumption the node's own `peer`, of `same seed` the other's; of `baseline`, which comes
    last where a silo baseline ran beside the node, the uplift.
    """

    round: int
    what: str
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def own_peer(life: Sequence[LifeEvent]) -> str:
    """The node's own PeerID, as its newest start told it; empty before the first."""
    starts = [event for event in life if event.what in ("started", "resumed")]
    return str(starts[-1].facts.get("peer", "")) if starts else ""


Event = RoundEvent | EvaluationEvent | ProblemEvent | PeerEvent | ExternalEvent | LifeEvent
KINDS: dict[str, type[Event]] = {
    "round": RoundEvent,
    "evaluation": EvaluationEvent,
    "problem": ProblemEvent,
    "peer": PeerEvent,
    "external": ExternalEvent,
    "life": LifeEvent,
}


class Store:
    """Appends events and rollouts durably; each call is one transaction. One writer a run folder."""

    def __init__(self, path: Path, rollout_bytes: int = 0) -> None:
        """`rollout_bytes`: what rollouts may take; 0 keeps none. Raises StoreError for a file that is none."""
        self._path = path
        self._db = open_store(path, EVENTS + rollout_writer.SCHEMA)
        self._file = HeldFile(path)
        self._rollouts = rollout_writer.RolloutWriter(self._db, rollout_bytes)

    def append(self, *events: Event, rollouts: RoundRollouts | None = None) -> None:
        """Events, and a round's rollouts, all or none of them. Raises StoreError."""
        rows = [(time.time(), event.round, _kind(event), json.dumps(asdict(event))) for event in events]
        self._file.check()
        try:
            with explained(self._path), self._db:
                self._db.executemany("INSERT INTO events (time, round, kind, data) VALUES (?, ?, ?, ?)", rows)
                if rollouts is not None:
                    self._rollouts.write(rollouts)
        except BaseException:
            self._rollouts.forget_size()  # nothing of it was written
            raise

    def rewind(self, to_round: int) -> int:
        """Forgets rounds after `to_round`, which a resumed run plays again. Returns how many rounds those were."""
        with explained(self._path), self._db:
            lost = self._db.execute(
                "SELECT COUNT(*) FROM events WHERE kind = 'round' AND round > ?", (to_round,)
            ).fetchone()[0]
            self._db.execute("DELETE FROM events WHERE round > ? AND kind != 'life'", (to_round,))
            self._rollouts.rewind(to_round)
        return int(lost)

    def problems(self, round_number: int) -> list[ProblemEvent]:
        """What one round decided on."""
        query = "SELECT data FROM events WHERE kind = 'problem' AND round = ? ORDER BY id"
        with explained(self._path):
            rows = self._db.execute(query, (round_number,)).fetchall()
            return [ProblemEvent(**parse_json(data)) for (data,) in rows]

    def close(self) -> None:
        self._db.close()


class History:
    """Read-only view of a run's events, safe beside a running writer. An absent store is an empty history."""

    def __init__(self, path: Path, since: int = -1) -> None:
        """`since`: the first round of which events are read."""
        self._path, self._since = path, since

    @classmethod
    def of_last(cls, path: Path, rounds: int | None) -> History:
        """The newest `rounds` that were played; None: the whole run. Raises StoreError."""
        played = cls(path).rounds() if rounds is not None else []
        return cls(path, played[-rounds:][0].round) if rounds and played else cls(path)

    def rounds(self) -> list[RoundEvent]:
        return [event for event in self._events("round") if isinstance(event, RoundEvent)]

    def evaluations(self) -> list[EvaluationEvent]:
        return [event for event in self._events("evaluation") if isinstance(event, EvaluationEvent)]

    def problems(self) -> list[ProblemEvent]:
        return [event for event in self._events("problem") if isinstance(event, ProblemEvent)]

    def peers(self) -> list[PeerEvent]:
        return [event for event in self._events("peer") if isinstance(event, PeerEvent)]

    def external(self) -> list[ExternalEvent]:
        return [event for event in self._events("external") if isinstance(event, ExternalEvent)]

    def life(self) -> list[LifeEvent]:
        return [event for event in self._events("life") if isinstance(event, LifeEvent)]

    def timed(self, kind: str) -> list[tuple[float, Event]]:
        """The events of one of KINDS, each with the Unix seconds at which it was written."""
        return list(self._timed(kind))

    def last_written(self) -> float | None:
        """Unix seconds at which the newest event was written; None where there is none."""
        with self._reading() as db:
            newest = db.execute("SELECT time FROM events ORDER BY id DESC LIMIT 1").fetchone() if db else None
        return float(newest[0]) if newest else None

    def _events(self, kind: str) -> Iterator[Event]:
        return (event for _, event in self._timed(kind))

    def _timed(self, kind: str) -> Iterator[tuple[float, Event]]:
        with self._reading() as db:
            query = "SELECT time, data FROM events WHERE kind = ? AND round >= ? ORDER BY id"
            for at, data in db.execute(query, (kind, self._since)) if db else ():
                yield at, KINDS[kind](**parse_json(data))

    def _reading(self) -> AbstractContextManager[sqlite3.Connection | None]:
        """The store, read-only; None where it is absent or its writer has not made the table yet."""
        return reading(self._path, "events")


def _kind(event: Event) -> str:
    return next(kind for kind, model in KINDS.items() if isinstance(event, model))
