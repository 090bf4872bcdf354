"""Peer records: what came of each peer's bodies here, and so which peers are known, new or resting.

A record is this node's own experience; nobody's word goes into it. Counts halve every HALF_LIFE, so a peer that
rests comes back as a newcomer, and one that was good long ago has to show it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from swarm.admission.refusal import Reason
from swarm.admission.verdict import Outcome, Verdict
from swarm.sampling.newcomer_places import fair_select

HALF_LIFE = 1800.0  # seconds
KNOWN_GROUPS = 1.75  # good groups that make a peer known: two, which fade from the moment in which they came
# Faults, and refusals that nobody is to blame for, from which a peer may have to rest; and those for each group that
# passed that are too many.
RESTING_FAULTS, FAULTS_FOR_A_GROUP = 4.0, 2.0
RESTING_REFUSALS, REFUSALS_FOR_A_GROUP = 32.0, 8.0
# Honest peers meet these too: they run another tokenizer, resume, are slow, or were copied.
BLAMELESS = frozenset({Reason.REPLAY, Reason.STALE, Reason.LENGTH, Reason.ENCODING, Reason.FAULT})
MAX_PEERS = 4096  # 1 MB; the one that was silent longest is forgotten first


class Standing(StrEnum):
    KNOWN = "known"  # gave good groups of late: four fifths of all places are for such peers
    NEWCOMER = "newcomer"  # no record yet, or one that faded
    RESTING = "resting"  # gave more trouble than good: left alone until that fades


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """Decayed counts, as of Unix time `at`."""

    good: float = 0.0  # groups that passed every check and had something to learn from
    useless: float = 0.0  # groups that passed, and had not
    refused: dict[str, float] = field(default_factory=dict)  # groups or bodies, by reason
    undelivered: float = 0.0  # fetches that brought no body
    at: float = 0.0
    host: str = ""  # that its last delivered body was fetched from
    habits: float = 0.0  # groups in updates of which a part was left out, as it was this peer's habit
    usefulness: float | None = (
        None  # mean cosine of its groups' gradients with those of own ones; None: not measured
    )
    measured: float = 0.0  # how often that was

    @property
    def passed(self) -> float:
        """Groups that passed every check."""
        return self.good + self.useless

    @property
    def blameless(self) -> float:
        """Groups refused for what honest peers do as well."""
        return sum(count for reason, count in self.refused.items() if reason in BLAMELESS)

    @property
    def faults(self) -> float:
        """Bodies that did not come, and what was refused for what no honest peer sends."""
        return self.undelivered + sum(self.refused.values()) - self.blameless

    def faded(self, now: float) -> PeerRecord:
        """The record as of Unix time `now`."""
        left = 0.5 ** (max(0.0, now - self.at) / HALF_LIFE)
        refused = {reason: left * count for reason, count in self.refused.items() if left * count > 0.01}
        return replace(
            self,
            good=left * self.good,
            useless=left * self.useless,
            refused=refused,
            undelivered=left * self.undelivered,
            at=now,
            habits=left * self.habits,
            measured=left * self.measured,
        )


class PeerRecords:
    """Of one node. Thread-safe. `allowed` peers are always known, `denied` ones always rest (PeerIDs)."""

    def __init__(
        self, clock: Callable[[], float], allowed: Iterable[str] = (), denied: Iterable[str] = ()
    ) -> None:
        self._clock = clock
        self._allowed, self._denied = frozenset(allowed), frozenset(denied)
        self._lock = threading.Lock()
        self._records: dict[str, PeerRecord] = {}
        self._touched: set[str] = set()

    def trust(self, allowed: Iterable[str], denied: Iterable[str]) -> None:
        """The owner's word from now on, in place of what was said before."""
        self._allowed, self._denied = frozenset(allowed), frozenset(denied)

    def note_undelivered(self, peer: str) -> None:
        """A fetch brought no body of this peer."""
        with self._lock:
            record = self._current(peer)
            self._keep(peer, replace(record, undelivered=record.undelivered + 1.0))

    def note_delivered(self, peer: str, host: str, verdicts: Sequence[Verdict]) -> None:
        """A body of this peer came from `host`, an IP address, and was verified."""
        with self._lock:
            record = self._current(peer)
            # Whose texts were known may be the one that was copied.
            good = sum(verdict.outcome in (Outcome.ACCEPTED, Outcome.KNOWN) for verdict in verdicts)
            useless = sum(verdict.outcome in (Outcome.SET_ASIDE, Outcome.UNUSABLE) for verdict in verdicts)
            refused = dict(record.refused)
            for verdict in verdicts:
                if verdict.reason is not None:
                    refused[verdict.reason.value] = refused.get(verdict.reason.value, 0.0) + 1.0
            counts = {"good": record.good + good, "useless": record.useless + useless}
            self._keep(peer, replace(record, **counts, refused=refused, host=host))

    def note_habit(self, peer: str) -> None:
        """A part of a group of this peer was left out of an update: nobody else writes it."""
        with self._lock:
            record = self._current(peer)
            self._keep(peer, replace(record, habits=record.habits + 1.0))

    def note_usefulness(self, peer: str, alignment: float) -> None:
        """A gradient over groups of this peer had this cosine with that over own ones."""
        with self._lock:
            record = self._current(peer)
            measured = record.measured + 1.0
            before = alignment if record.usefulness is None else record.usefulness
            mean = before + (alignment - before) / measured
            self._keep(peer, replace(record, usefulness=mean, measured=measured))

    def standing(self, peer: str) -> Standing:
        """What the record, or the owner's word, makes of a peer now."""
        if peer in self._denied:
            return Standing.RESTING
        if peer in self._allowed:
            return Standing.KNOWN
        record = self.record(peer)
        if _too_many(record.faults, RESTING_FAULTS, FAULTS_FOR_A_GROUP * record.passed):
            return Standing.RESTING
        if _too_many(record.blameless, RESTING_REFUSALS, REFUSALS_FOR_A_GROUP * record.passed):
            return Standing.RESTING
        return Standing.KNOWN if record.good >= KNOWN_GROUPS else Standing.NEWCOMER

    def record(self, peer: str) -> PeerRecord:
        """The record as of now; an empty one for a peer that was never met."""
        with self._lock:
            return self._current(peer)

    def select(
        self,
        peers: Sequence[str],
        count: int,
        generator: np.random.Generator,
        hosts: Mapping[str, str] | None = None,
    ) -> list[int]:
        """At most `count` positions of `peers`, who stand there once for each group that they offer.

        Fair to networks, and with places reserved for known peers (`fair_select`); none of those that rest. `hosts`
        are those that peers say they are at; left out, those that their last bodies came from.
        """
        standings = {peer: self.standing(peer) for peer in set(peers)}
        places = [place for place, peer in enumerate(peers) if standings[peer] is not Standing.RESTING]
        if hosts is None:
            hosts = {peer: self.record(peer).host for peer in standings}
        offered = [peers[place] for place in places]
        known = lambda peer: standings[peer] is Standing.KNOWN  # noqa: E731
        return [places[index] for index in fair_select(offered, hosts, known, count, generator)]

    def reason(self, peer: str) -> str:
        """The standing's reason, in one line of ours."""
        if peer in self._denied or peer in self._allowed:
            return f"its owner says {'deny' if peer in self._denied else 'allow'}"
        record = self.record(peer)
        counts = {"groups to learn from": record.good, "others": record.useless, **record.refused}
        counts |= {"not delivered": record.undelivered, "with a habit": record.habits}
        return ", ".join(f"{what} {count:.1f}" for what, count in counts.items() if count >= 0.05)

    def drain_touched(self) -> set[str]:
        """The peers whose records changed since the last call."""
        with self._lock:
            touched, self._touched = self._touched, set()
        return touched

    def peers(self) -> list[str]:
        """All peers with a record."""
        with self._lock:
            return list(self._records)

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON-able data for the checkpoint."""
        with self._lock:
            return {peer: asdict(record) for peer, record in self._records.items()}

    def restore(self, data: dict[str, Any]) -> None:
        """Takes over what `snapshot` gave, straight or through JSON."""
        with self._lock:
            self._records = {peer: PeerRecord(**record) for peer, record in data.items()}

    def _current(self, peer: str) -> PeerRecord:
        return self._records.get(peer, PeerRecord()).faded(self._clock())

    def _keep(self, peer: str, record: PeerRecord) -> None:
        self._records[peer] = record
        self._touched.add(peer)
        if len(self._records) > MAX_PEERS:
            forgotten = min(self._records, key=lambda other: self._records[other].at)
            del self._records[forgotten]
            self._touched.discard(forgotten)


def _too_many(refused: float, least: float, bearable: float) -> bool:
    return refused >= least and refused > bearable
