"""Rows and checks of `murmur bench faults`, computed from what nodes did around each fault."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from node.bench.kit.report import Check, Row

# A call to the transport takes 10 s at most (`DhtSettings.call_timeout`): on an idle machine, where these rounds last
# under a second, one round that waited for the network is far above this. What does make rounds longer is that
# restarted nodes import torch on the same cores: on one core shared with other programs the worst of ten was 3.3.
LONGEST_GAP = 5.0  # median rounds
# Gossip rests as long between two tries while its transport fails (`GossipSettings.longest_pause`).
RECOVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What one node did in the time of a case; times in Unix seconds."""

    node: str
    rounds: tuple[float, ...]  # when each ended
    deliveries: tuple[tuple[float, str, int], ...]  # when, from which node, how many groups
    trained: tuple[tuple[str, str, int], ...]  # peer, task and seed of each external group, of the whole run
    replays: int  # groups refused because they were here before


@dataclass(frozen=True, slots=True)
class FaultOutcome:
    """One case as it went. The fault holds from `struck` to `mended`; times in Unix seconds."""

    case: str
    begun: float
    struck: float
    mended: float
    ended: float
    records: Sequence[NodeRecord]
    victims: frozenset[str]  # nodes that were killed
    across: frozenset[tuple[str, str]]  # (receiver, sender): the ways on which the fault disturbs delivery
    left_over: int  # processes that outlived a killed node

    @property
    def survivors(self) -> list[NodeRecord]:
        return [record for record in self.records if record.node not in self.victims]

    @property
    def median_round(self) -> float:
        """Seconds from the end of one round of a survivor to that of its next."""
        gaps = [later - earlier for record in self.survivors for earlier, later in pairwise(record.rounds)]
        return statistics.median(gaps) if gaps else math.inf

    @property
    def longest_gap(self) -> float:
        """The longest time without the end of a round at any survivor, in median rounds of that node."""
        return max(_longest_gap(record.rounds, self.begun, self.ended) for record in self.survivors)

    @property
    def recovery(self) -> float:
        """Seconds from the end of the fault until each receiver has got something over a disturbed way."""
        receivers = {receiver for receiver, _ in self.across}
        return max(self._first_delivery(record) for record in self.records if record.node in receivers)

    @property
    def trained_twice(self) -> int:
        """Groups of peers that a node trained on again."""
        return sum(
            sum(Counter(record.trained).values()) - len(set(record.trained)) for record in self.records
        )

    def row(self) -> Row:
        """One line of the report."""
        moments = (self.begun, self.struck, self.mended, self.ended)
        phases = dict(zip(("before", "during", "after"), pairwise(moments), strict=True))
        return {
            "case": self.case,
            **{f"{name}_s": round(end - start, 1) for name, (start, end) in phases.items()},
            **{f"rounds_{name}": self._rounds(*phase) for name, phase in phases.items()},
            **{f"received_{name}": self._received(*phase) for name, phase in phases.items()},
            **{f"across_{name}": self._crossed(*phase) for name, phase in phases.items()},
            "median_round_s": self.median_round,
            "longest_gap": self.longest_gap,
            "recovery_s": self.recovery if math.isfinite(self.recovery) else None,
            "trained_twice": self.trained_twice,
            "replays": sum(record.replays for record in self.records),
            "left_over": self.left_over,
        }

    def _rounds(self, start: float, end: float) -> int:
        return sum(start <= at < end for record in self.survivors for at in record.rounds)

    def _received(self, start: float, end: float) -> int:
        """Groups that arrived at the survivors, from whomever."""
        return sum(n for record in self.survivors for at, _, n in record.deliveries if start <= at < end)

    def _crossed(self, start: float, end: float) -> int:
        """Groups that arrived over the disturbed ways."""
        return sum(
            n
            for record in self.records
            for at, sender, n in record.deliveries
            if start <= at < end and (record.node, sender) in self.across
        )

    def _first_delivery(self, record: NodeRecord) -> float:
        arrivals = (
            at - self.mended
            for at, sender, n in record.deliveries
            if n and at >= self.mended and (record.node, sender) in self.across
        )
        return min(arrivals, default=math.inf)


def checks(outcomes: Sequence[FaultOutcome], left_over: int) -> list[Check]:
    """The worst of all cases against each band. `left_over`: processes that outlived the whole benchmark."""
    if not outcomes:
        return []
    killed = max(*(outcome.left_over for outcome in outcomes), left_over)
    return [
        Check.of(
            "training_never_stops", [max(outcome.longest_gap for outcome in outcomes)], ceiling=LONGEST_GAP
        ),
        Check.of(
            "delivery_recovers", [max(outcome.recovery for outcome in outcomes)], ceiling=RECOVERY_SECONDS
        ),
        Check.of("trained_twice", [max(outcome.trained_twice for outcome in outcomes)], floor=0, ceiling=0),
        Check.of("left_over", [killed], floor=0, ceiling=0),
    ]


def _longest_gap(rounds: Sequence[float], begun: float, ended: float) -> float:
    """Infinite for a node that ended fewer than two rounds: it hardly trained at all."""
    if len(rounds) < 2:
        return math.inf
    gaps = [later - earlier for earlier, later in pairwise(rounds)]
    # What began before the case and what had not ended with it are parts of rounds: too short, never too long.
    parts = [rounds[0] - begun, ended - rounds[-1]]
    return max(*gaps, *parts) / statistics.median(gaps)
