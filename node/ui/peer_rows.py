"""Peers as rows: what the records of each came to in an own run, and what each announces in a swarm."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from node.storage.events import History, PeerEvent
from swarm.exchange.peer_stats import NodeStats
from swarm.observer.client import Look
from swarm.visible_text import counted


@dataclass(frozen=True, slots=True)
class StatsRow:
    """What one peer says of itself when asked."""

    version: str
    uptime: float  # seconds
    peers_seen: int
    counters: dict[str, int]

    @property
    def refused(self) -> int:
        """Announcements of others that did not count with it."""
        return sum(count for name, count in self.counters.items() if name.startswith("refused_"))


@dataclass(frozen=True, slots=True)
class AnnouncementRow:
    """What one peer announces: its own claims, nothing of it verified but the signature."""

    peer: str
    seconds_ago: float
    round: int
    policy_version: int
    policy: str
    groups: int
    rollouts: int
    bytes: int
    claimed_rewards: dict[str, float]
    stats: StatsRow | None  # None where the peer gave none
    no_answer: str  # why it gave none


@dataclass(frozen=True, slots=True)
class PeerHistoryRow:
    """What the records of one peer came to in an own run."""

    peer: str
    last_round: int
    last_good: int | None  # the last round in which a group of it passed every check
    received: int
    set_aside: int
    trained_on: int
    refused: dict[str, int]
    left_out: dict[str, int]  # rollouts of groups that were taken, by reason
    standing: str  # known | newcomer | resting; empty in stores of before
    why: str  # what of its record makes it so
    usefulness: float | None  # whether its right answers would make own ones likelier; None: not measured
    usefulness_error: float | None  # its standard error
    habits: float  # groups of which a part was left out, as nobody else writes it; fades
    address: str  # kind of the one that its last body was said to be at; empty where none is known


def peer_history(history: History) -> list[PeerHistoryRow]:
    """A row a peer, the one with the most accepted groups first."""
    by_peer: dict[str, list[PeerEvent]] = defaultdict(list)
    for event in history.peers():
        by_peer[event.peer].append(event)
    trained_on = Counter(event.peer for event in history.external())
    rows = []
    for peer, theirs in sorted(by_peer.items()):
        refused, left_out = Counter[str](), Counter[str]()
        for event in theirs:
            refused.update(event.refused)
            left_out.update(event.left_out)
        received, set_aside = sum(e.received for e in theirs), sum(e.set_aside for e in theirs)
        counts = (received, set_aside, trained_on[peer])
        last = theirs[-1]
        good = next((event.round for event in reversed(theirs) if event.received), None)
        standing = last.standing, last.why
        rows.append(
            PeerHistoryRow(
                *(peer, last.round, good, *counts, dict(refused), dict(left_out), *standing),
                usefulness=last.usefulness,
                usefulness_error=last.usefulness_error,
                habits=last.habits,
                address=last.address,
            )
        )
    return sorted(rows, key=lambda row: -row.received)


def what_peers_brought(history: History) -> str | None:
    """One line on a whole run, resumptions included, where more than half of the places for peers stayed empty."""
    rounds = history.rounds()
    trained, empty = sum(e.trained_external for e in rounds), sum(e.missing_external for e in rounds)
    received, equal = sum(e.received for e in rounds), sum(e.set_aside for e in rounds)
    if not empty or 2 * empty <= trained + empty:
        return None
    alone = sum(e.alone for e in rounds)
    silent = f"; no peer was heard in {alone} of {counted(len(rounds), 'round')}" if alone else ""
    places = f"{empty} of {counted(trained + empty, 'place')} for groups of peers stayed empty"
    if not received:
        return f"{places}: none came{silent}"
    useless = f", {equal} had equal rewards, from which nothing is learnt" if equal else ""
    return f"{places}: {counted(received, 'group')} came, {trained} were trained on{useless}{silent}"


def announcements(look: Look, now: float) -> list[AnnouncementRow]:
    """What is announced right now, newest first, with what its publishers say of themselves."""
    rows = []
    for announcement in look.announcements:
        summary, peer = announcement.summary, announcement.peer
        rows.append(
            AnnouncementRow(
                peer=peer,
                seconds_ago=max(0.0, now - announcement.created),
                round=summary.round,
                policy_version=summary.policy_version,
                policy=summary.fingerprint,
                groups=summary.groups,
                rollouts=summary.rollouts,
                bytes=announcement.size,
                claimed_rewards={task.task: task.mean_reward for task in summary.tasks},
                stats=_stats_row(look.stats[peer]) if peer in look.stats else None,
                no_answer=look.silent.get(peer, ""),
            )
        )
    return sorted(rows, key=lambda row: row.seconds_ago)


def _stats_row(stats: NodeStats) -> StatsRow:
    return StatsRow(stats.version, stats.uptime, stats.peers_seen, dict(stats.counters))
