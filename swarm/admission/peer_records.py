"""Peer records: what came of each peer's bodies here, and so which peers are known, new or resting.

A record is this node's own experience; nobody's word goes into it. Counts halve every HALF_LIFE, so a peer that
rests comes back as a newcomer, and one that was good long ago has to show it again.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from swarm.admission.refusal import Reason
from swarm.admission.verdict import Outcome, Verdict
from swarm.sampling.held_places import HeldPlaces
from swarm.sampling.newcomer_places import fair_select

HALF_LIFE = 1800.0  # seconds
KNOWN_GROUPS = 1.75  # good groups that make a peer known: two, which fade from the moment in which they came
# Faults, and refusals that nobody is to blame for, from which a peer may have to rest; and those for each group that
# passed that are too many.
RESTING_FAULTS, FAULTS_FOR_A_GROUP = 4.0, 2.0
RESTING_REFUSALS, REFUSALS_FOR_A_GROUP = 32.0, 8.0
# Honest peers meet these too: they run another tokenizer, resume, are slow, or were copied.
BLAMELESS = frozenset({Reason.REPLAY, Reason.STALE, Reason.LENGTH, Reason.ENCODING, Reason.FAULT})
# Groups of which a part was left out that make it a habit of the peer: so many, and this share of all its groups.
LEAST_HABITS, HABIT_SHARE = 3.0, 0.5
LEAST_MEASURED = 8  # groups, below which nothing is said of usefulness: one group's cosine is off by 0.2
REMEMBERED = 50  # measured groups that count; a peer that has changed shows it after as many
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
    delivered: float = 0.0  # Unix time of that
    trained: float = 0.0  # groups in updates
    habits: float = 0.0  # of those, groups of which a part was left out, as nobody else writes it
    likeness: float = 0.0  # mean over its groups of what `note_usefulness` is told; later ones count more
    scatter: float = 0.0  # variance of that of a single group
    measured: int = 0  # groups

    @property
    def has_a_habit(self) -> bool:
        """Whether most of what it sends has a part that nobody else writes.

        Less often it is left out all the same, and nobody is blamed: an honest policy that breaks down repeats
        itself for some rounds.
        """
        return self.habits >= max(LEAST_HABITS, HABIT_SHARE * self.trained)

    @property
    def usefulness(self) -> float | None:
        """Whether what it recommends makes own right answers likelier, -1 to 1; None: too few groups were measured."""
        return self.likeness if self.measured >= LEAST_MEASURED else None

    @property
    def usefulness_error(self) -> float | None:
        """The standard error of `usefulness`."""
        counted = min(self.measured, REMEMBERED)
        return math.sqrt(self.scatter / (counted - 1)) if self.measured >= LEAST_MEASURED else None

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
        """The record as of Unix time `now`, to the second: a cycle asks for the same one many times."""
        if 0.0 <= now - self.at < 1.0:
            return self
        left = 0.5 ** (max(0.0, now - self.at) / HALF_LIFE)
        refused = {reason: left * count for reason, count in self.refused.items() if left * count > 0.01}
        return replace(
            self,
            good=left * self.good,
            useless=left * self.useless,
            refused=refused,
            undelivered=left * self.undelivered,
            at=now,
            trained=left * self.trained,
            habits=left * self.habits,
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
        self.held = HeldPlaces()  # of this node's updates

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
            passed, idle = (Outcome.ACCEPTED, Outcome.KNOWN), (Outcome.SET_ASIDE, Outcome.UNUSABLE)
            good = record.good + sum(verdict.outcome in passed for verdict in verdicts)
            useless = record.useless + sum(verdict.outcome in idle for verdict in verdicts)
            refused = dict(record.refused)
            for verdict in verdicts:
                if verdict.reason is not None:
                    refused[verdict.reason.value] = refused.get(verdict.reason.value, 0.0) + 1.0
            heard = replace(record, good=good, useless=useless, refused=refused)
            self._keep(peer, replace(heard, host=host, delivered=record.at))

    def note_trained(self, peer: str, masked: bool) -> None:
        """A group of this peer was in an update; `masked`: but for a part, which nobody else writes."""
        with self._lock:
            record = self._current(peer)
            self._keep(
                peer, replace(record, trained=record.trained + 1.0, habits=record.habits + float(masked))
            )

    def note_usefulness(self, peer: str, cosine: float) -> None:
        """What one more group of this peer was worth (`OwnDirections`). Does not fade: what comes later counts more."""
        with self._lock:
            record = self._current(peer)
            weight = 1.0 / min(record.measured + 1, REMEMBERED)
            off = cosine - record.likeness
            scatter = (1.0 - weight) * (record.scatter + weight * off * off)
            likeness, measured = record.likeness + weight * off, record.measured + 1
            self._keep(peer, replace(record, likeness=likeness, scatter=scatter, measured=measured))

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
        hold: float | None = None,
    ) -> list[int]:
        """At most `count` positions of `peers`, who stand there once for each group that they offer.

        Fair to networks, and with places reserved for known peers (`fair_select`); none of those that rest. `hosts`
        are those that peers say they are at; left out, those that their last bodies came from. `hold`: places are
        held for whoever delivered a body in so many seconds and has a record, whether or not they offer something
        now (`HeldPlaces`).
        """
        standings = {peer: self.standing(peer) for peer in set(peers)}
        places = [place for place, peer in enumerate(peers) if standings[peer] is not Standing.RESTING]
        if hosts is None:
            hosts = {peer: self.record(peer).host for peer in standings}
        offered = [peers[place] for place in places]
        known = {peer for peer, standing in standings.items() if standing is Standing.KNOWN}
        held = None
        if hold is not None and (sources := self._sources(hold)):
            held = self.held
            held.begin(sources, count)
        drawn = fair_select(offered, hosts, known.__contains__, count, generator, held)
        return [places[index] for index in drawn]

    def _sources(self, seconds: float) -> dict[str, str]:
        """Hosts by peer of those that delivered of late, and enough that passed; with a signal or, all solved, none."""
        oldest = self._clock() - seconds
        with self._lock:
            of_late = [peer for peer, record in self._records.items() if record.delivered >= oldest]
        records = {peer: self.record(peer) for peer in of_late if self.standing(peer) is not Standing.RESTING}
        return {peer: r.host for peer, r in records.items() if r.passed >= KNOWN_GROUPS}

    def reason(self, peer: str) -> str:
        """The standing's reason, in one line of ours."""
        if peer in self._denied or peer in self._allowed:
            return f"its owner says {'deny' if peer in self._denied else 'allow'}"
        record = self.record(peer)
        counts = {"groups to learn from": record.good, "others": record.useless, **record.refused}
        counts |= {"not delivered": record.undelivered, _habit_words(record): record.habits}
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
            self._records = {peer: _read(record) for peer, record in data.items()}

    def _current(self, peer: str) -> PeerRecord:
        return (self._records.get(peer) or PeerRecord()).faded(self._clock())

    def _keep(self, peer: str, record: PeerRecord) -> None:
        self._records[peer] = record
        self._touched.add(peer)
        if len(self._records) > MAX_PEERS:
            forgotten = min(self._records, key=lambda other: self._records[other].at)
            del self._records[forgotten]
            self._touched.discard(forgotten)


def _too_many(refused: float, least: float, bearable: float) -> bool:
    return refused >= least and refused > bearable


def _habit_words(record: PeerRecord) -> str:
    return "with a habit" if record.has_a_habit else "in part left out"


def _read(plain: Mapping[str, Any]) -> PeerRecord:
    """A record of a checkpoint. What older ones call usefulness was another measure, and is begun anew."""
    known = {name: value for name, value in plain.items() if name in PeerRecord.__dataclass_fields__}
    return PeerRecord(**known if "likeness" in known else {**known, "measured": 0})
