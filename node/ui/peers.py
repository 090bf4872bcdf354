"""`murmur peers`: who is in a swarm and what they offer, or what came of each peer in an own run."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from node.config.schema import ConfigError
from node.storage.events import History, PeerEvent
from node.storage.run_folder import RunFolder, newest_run_folder
from node.ui.run_view import format_refused, new_console
from swarm.exchange.peer_stats import NodeStats
from swarm.observer.client import Look, Observer
from swarm.wire.invite import Invite

WATCH_SECONDS = 5.0
_HISTORY_COLUMNS = ("peer", "last round", "received", "set aside", "trained on", "refused")
_ANNOUNCEMENT_COLUMNS = (
    *("peer", "age", "round", "policy", "groups", "rollouts", "claims"),
    *("version", "up", "fetched", "served", "refused"),
)


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
    received: int
    set_aside: int
    trained_on: int
    refused: dict[str, int]


def show_peers(invite: str | None, run_dir: Path | None, *, watch: bool, as_json: bool) -> None:
    """Prints the peers of a swarm (by invite) or of a run (by folder). Raises ConfigError, InviteError."""
    if invite is None:
        folder = RunFolder(run_dir) if run_dir else newest_run_folder()
        if folder is None:
            raise ConfigError(
                "no run under runs/: name one with --run-dir, or give an invite to look at a swarm"
            )
        return _repeat(lambda: _show_peer_history(folder, as_json=as_json), watch=watch)
    with closing(Observer(Invite.decode(invite))) as observer:
        _repeat(lambda: _show_announcements(observer.look(), as_json=as_json), watch=watch)


def _show_peer_history(folder: RunFolder, *, as_json: bool) -> None:
    rows = peer_history(History(folder.events))
    if as_json:
        return _print_json([asdict(row) for row in rows])
    table = Table(*_HISTORY_COLUMNS, title=str(folder.path), title_justify="left")
    for row in rows:
        counts = (row.last_round, row.received, row.set_aside, row.trained_on)
        table.add_row(row.peer, *map(str, counts), format_refused(row.refused))
    new_console().print(table if rows else f"{folder.path}: no records of peers so far")


def _show_announcements(look: Look, *, as_json: bool) -> None:
    rows = announcements(look, time.time())
    if as_json:
        return _print_json([asdict(row) for row in rows])
    table = Table(*_ANNOUNCEMENT_COLUMNS, box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for row in rows:
        claims = "  ".join(f"{task} {reward:.2f}" for task, reward in row.claimed_rewards.items())
        age, counts = f"{row.seconds_ago:.0f} s", (row.round, row.policy, row.groups, row.rollouts)
        table.add_row(_short(row.peer), age, *map(str, counts), claims, *_stats_cells(row))
    new_console().print(table if rows else "no peer has announced anything in the last two epochs")
    new_console().print(f"{look.nodes} nodes of the DHT answered, {len(look.stats)} peers told their figures")


def _short(peer: str) -> str:
    """The end of a PeerID, which is what tells two of them apart; --json has them whole."""
    return f"…{peer[-8:]}"


def _stats_cells(row: AnnouncementRow) -> tuple[str, ...]:
    stats = row.stats
    if stats is None:
        return (row.no_answer, "", "", "", "")
    counts = (stats.counters.get("fetched", 0), stats.counters.get("served", 0), stats.refused)
    return (stats.version, format_uptime(stats.uptime), *map(str, counts))


def format_uptime(seconds: float) -> str:
    """In the largest unit of which there is one at least."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def peer_history(history: History) -> list[PeerHistoryRow]:
    """A row a peer, the one with the most accepted groups first."""
    by_peer: dict[str, list[PeerEvent]] = defaultdict(list)
    for event in history.peers():
        by_peer[event.peer].append(event)
    trained_on = Counter(event.peer for event in history.external())
    rows = []
    for peer, theirs in sorted(by_peer.items()):
        refused: Counter[str] = Counter()
        for event in theirs:
            refused.update(event.refused)
        received, set_aside = sum(e.received for e in theirs), sum(e.set_aside for e in theirs)
        rows.append(
            PeerHistoryRow(peer, theirs[-1].round, received, set_aside, trained_on[peer], dict(refused))
        )
    return sorted(rows, key=lambda row: -row.received)


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


def _repeat(show: Callable[[], None], *, watch: bool) -> None:
    show()
    while watch:
        time.sleep(WATCH_SECONDS)
        show()


def _print_json(rows: Sequence[dict[str, object]]) -> None:
    new_console().out(json.dumps(rows), highlight=False)
