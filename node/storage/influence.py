"""The part that each peer's groups had in what this node learned, by its own findings alone.

Most telling is `usefulness`, measured while it trains: whether a peer's right answers make the own ones likelier.
Beside it stand plain counts, and how the own reward went on after updates with the peer's groups. That is no
experiment: other peers' groups were in the same updates. `murmur demo` and `silo_baseline` measure sharing itself.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from node.storage.events import History, RoundEvent
from swarm.visible_text import counted


@dataclass(frozen=True, slots=True)
class Influence:
    """One peer's part in this node's updates."""

    peer: str
    received: int  # groups that passed every check
    trained_on: int  # groups in updates
    updates: int  # rounds whose update had one of them
    share: float  # of all groups in all updates, 0 to 1
    usefulness: float | None  # whether its right answers would make own ones likelier; None: not measured
    # Own reward in the rounds whose updates had its groups, as those updates were not yet made, and in the rounds that
    # followed each.
    reward_before: float | None
    reward_after: float | None

    @property
    def change(self) -> float | None:
        """Of the own reward, over updates with its groups."""
        if self.reward_before is None or self.reward_after is None:
            return None
        return self.reward_after - self.reward_before

    @property
    def words(self) -> str:
        """One sentence without the peer's name."""
        useful = "" if self.usefulness is None else f", useful {self.usefulness:+z.2f}"
        groups = f"{self.trained_on} of its groups {'was' if self.trained_on == 1 else 'were'}"
        return f"{groups} in {counted(self.updates, 'update')} ({self.share:.0%} of all groups){useful}"


def influences(history: History, until: int | None = None) -> list[Influence]:
    """A row for each peer that anything was received from or trained on, the most helpful first; of rounds up to
    `until` alone. Raises StoreError.
    """
    last = math.inf if until is None else until
    rounds = [event for event in history.rounds() if event.round <= last]
    useful: dict[str, float] = {}
    received = Counter[str]()
    for event in (event for event in history.peers() if event.round <= last):
        received[event.peer] += event.received
        if event.usefulness is not None:
            useful[event.peer] = event.usefulness
    given: dict[str, list[int]] = defaultdict(list)
    for group in (group for group in history.external() if group.round <= last):
        given[group.peer].append(group.round)
    total = sum(event.trained_local + event.trained_external for event in rounds)
    rows = [
        Influence(
            peer,
            received[peer],
            len(given[peer]),
            len(set(given[peer])),
            len(given[peer]) / total if total else 0.0,
            useful.get(peer),
            *_rewards_around(rounds, set(given[peer])),
        )
        for peer in sorted({*received, *given})
    ]
    return sorted(rows, key=_helpfulness, reverse=True)


def _helpfulness(row: Influence) -> tuple[float, int, int]:
    """Groups that pull the other way count against a peer; where nothing was measured, groups alone decide."""
    pull = row.usefulness if row.usefulness is not None else 0.0
    return (pull * row.trained_on, row.trained_on, row.received)


def _rewards_around(rounds: Sequence[RoundEvent], updates: set[int]) -> tuple[float | None, float | None]:
    """Mean own reward in these rounds and in those that follow each; None for none that has a next one."""
    by_round = {event.round: event.reward for event in rounds}
    told = [number for number in updates if number in by_round and number + 1 in by_round]
    if not told:
        return None, None
    return statistics.fmean(by_round[n] for n in told), statistics.fmean(by_round[n + 1] for n in told)
