"""`murmur peers`: who is in a swarm and what they offer, or what came of each peer in an own run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live

from node.config.schema import ConfigError
from node.config.sections.swarm import SiloConfig
from node.storage.events import History
from node.storage.influence import Influence, influences
from node.storage.rollout_history import RolloutHistory
from node.storage.run_folder import RunFolder, find_run
from node.ui.fitted_table import FittedTable
from node.ui.invocation import murmur
from node.ui.patience import patient
from node.ui.peer_rows import AnnouncementRow, PeerHistoryRow, announcements, peer_history
from node.ui.round_columns import format_refused
from node.ui.run_view import WHOLE_ROWS, new_console
from node.ui.short_names import short_peer
from node.ui.terminal.window import in_window, say_aside
from swarm.extras import require_libp2p
from swarm.observer.client import Look, Observer
from swarm.visible_text import counted, one_line
from swarm.wire.invite import Invite

WATCH_SECONDS = 5.0
_HISTORY_COLUMNS = (
    "peer",
    "last round",
    "last good",
    "received",
    "equal rewards",
    "trained on",
    "of updates",
    "refused",
    "left out",
    "standing",
    "useful",
    "habits",
)
# Reasons go on in a further line; all else stays whole.
_HISTORY_LEAST = {"refused": 14, "left out": 14}
_HISTORY_LESSER = (
    "habits",
    "useful",
    "left out",
    "last round",
    "equal rewards",
    "last good",
    "of updates",
    "standing",
)
_HISTORY_LEGEND = {
    "last good": "the round in which a group passed every check last",
    "received": "groups that passed every check",
    "equal rewards": "of those, groups whose rollouts all have one, so that nothing can be learnt",
    "of updates": "their part of all groups in updates",
    "refused": "groups and records that failed a check, with why",
    "left out": "single rollouts of received groups that could not be read, or (known) that another peer gave before",
    "standing": "known peers have four fifths of the places for groups of peers, newcomers share the rest, and who "
    "rests is left alone until its faults fade (--json says why)",
    "useful": "whether its right answers make the own ones likelier, from -1 to 1, and the standard error",
    "habits": "groups of late of which a part was not trained on, as nobody else writes it",
}
_ANNOUNCEMENT_COLUMNS = (
    *("peer", "age", "round", "policy", "groups", "rollouts", "claims"),
    *("answers", "version", "up", "fetched", "served", "refused"),
)
_ANNOUNCEMENT_LEGEND = (
    "round to claims (mean reward by task) are what a peer announces; answers: whether it answered when asked, which "
    "tells its version, how long it is up, bodies that it fetched and served, and records of others that it refused. "
    "Who only lets others join announces nothing, and has no row"
)


def show_peers(
    invite: str | None, run_dir: Path | None, last: int | None = None, *, watch: bool, as_json: bool
) -> None:
    """Prints the peers of a swarm (by invite) or of a run (by folder), there of its `last` rounds if that is given.

    Raises ConfigError for both at once, RunFolderError, InviteError, TransportDown, and
    ExtraMissing for an invite without py-libp2p.
    """
    if invite is not None and (run_dir is not None or last is not None):
        raise ConfigError("murmur peers takes an invite or --run-dir and --last, not both: leave one out")
    if invite is None:
        folder = find_run(run_dir)

        def view() -> RenderableType:
            with patient("reading the run"):
                return _history_view(folder, last, as_json=as_json, watch=watch)

        return _repeat(view, watch=watch)
    decoded = Invite.decode(invite)
    require_libp2p()
    with closing(Observer(decoded)) as observer:
        words = f"looking at swarm {decoded.manifest.name!r}, which takes up to half a minute"
        with nullcontext() if as_json else _patience(words):
            first = observer.look()
        looks = chain([first], iter(observer.look, None))
        _repeat(lambda: _announcements_view(next(looks), as_json=as_json), watch=watch)


def _history_view(
    folder: RunFolder, last: int | None, *, as_json: bool, watch: bool = False
) -> RenderableType:
    history = History.of_last(folder.events, last)
    parts = {part.peer: part for part in influences(history)}
    rows = sorted(peer_history(history), key=lambda row: list(parts).index(row.peer))
    if as_json:
        return json.dumps([asdict(row) | _told_of(parts[row.peer]) for row in rows])
    if not rows:
        if isinstance(folder.read_config().swarm, SiloConfig):
            ways = f"{murmur('bootstrap')} and {murmur('join')} make a swarm"
            return in_window(f"{folder.path}: a silo, which has no peers; {ways}")
        whole = f"; of the whole run: {murmur('peers', folder.path)}"
        when = "so far" if last is None else f"in its newest {counted(last, 'round')}{whole}"
        return in_window(f"{folder.path}: no records of peers {when}")
    cells = [_history_cells(row, parts[row.peer].share) for row in rows]
    room = new_console(WHOLE_ROWS).width
    fitted = FittedTable(_HISTORY_COLUMNS, cells, room, _HISTORY_LEAST, _HISTORY_LESSER, fold=True)
    details = RolloutHistory(folder.events).newest_refusals()
    told = _answers(rows, list(parts.values()), details)
    if watch and not folder.in_use():
        told.append("no process plays this run now, so nothing more comes; Ctrl-C ends this view")
    return Group(fitted.table(str(folder.path)), "", *map(in_window, (*told, _history_legend(fitted))))


def _history_cells(row: PeerHistoryRow, share: float) -> tuple[str, ...]:
    """By column; `share` is the peer's part of all groups in updates."""
    return (
        short_peer(row.peer),
        str(row.last_round),
        str(row.last_good or "-"),
        str(row.received),
        str(row.set_aside),
        str(row.trained_on),
        f"{share:.0%}",
        format_refused(row.refused),
        format_refused(row.left_out),
        row.standing,
        "-" if row.usefulness is None else f"{row.usefulness:+z.2f}{_give_or_take(row)}",
        f"{row.habits:.0f}",
    )


def _give_or_take(row: PeerHistoryRow) -> str:
    return "" if row.usefulness_error is None else f"±{row.usefulness_error:.2f}"


def _history_legend(fitted: FittedTable) -> str:
    meant = (f"{name}: {meaning}" for name, meaning in _HISTORY_LEGEND.items() if name not in fitted.left_out)
    return "; ".join(filter(None, (*meant, fitted.remark)))


def _told_of(part: Influence) -> dict[str, float | None]:
    """What a peer's groups brought, beside its row."""
    return {
        "updates": part.updates,
        "share": part.share,
        "reward_before": part.reward_before,
        "reward_after": part.reward_after,
    }


def _answers(
    rows: Sequence[PeerHistoryRow], parts: Sequence[Influence], details: Mapping[str, str]
) -> list[str]:
    """Who helps most and who is refused most, a line each; `details` say by peer what was wrong last."""
    best = next((part for part in parts if part.updates), None)
    worst = max(rows, key=lambda row: sum(row.refused.values()))
    helps = (
        f"{short_peer(best.peer)}: {best.words}"
        if best
        else "nobody yet: no group of a peer was in an update"
    )
    came = worst.received + sum(worst.refused.values())
    refusals = f"{short_peer(worst.peer)}: {format_refused(worst.refused)} of {came} groups and records"
    refusals += f"; last: {details[worst.peer]}" if worst.peer in details else ""
    lines = [
        f"helps most: {helps}",
        f"refused most: {refusals if worst.refused else 'nobody: nothing of a peer was refused'}",
    ]
    return [one_line(line, 400) for line in lines]


def _announcements_view(look: Look, *, as_json: bool) -> RenderableType:
    rows = announcements(look, time.time())
    if as_json:
        return json.dumps([asdict(row) for row in rows])
    answered = f"{counted(look.nodes, 'node')} of the DHT answered; {told_figures(rows, look)}"
    if not rows:
        nothing = (
            "no peer has announced anything in the last two minutes: nodes do once they have trained a round"
        )
        return Group(in_window(nothing), in_window(answered))
    cells = [[one_line(cell) for cell in _announcement_cells(row)] for row in rows]
    room, least = new_console(WHOLE_ROWS).width, {"answers": 9, "policy": 12, "claims": 16}
    lesser = ("version", "up", "rollouts", "served", "fetched", "policy", "refused")
    fitted = FittedTable(_ANNOUNCEMENT_COLUMNS, cells, room, least, lesser, fold=True)
    legend = "; ".join(filter(None, (_ANNOUNCEMENT_LEGEND, fitted.remark)))
    return Group(fitted.table(), in_window(legend), in_window(answered))


def _announcement_cells(row: AnnouncementRow) -> tuple[str, ...]:
    claims = "  ".join(f"{task} {reward:.2f}" for task, reward in row.claimed_rewards.items())
    counts = (row.round, row.policy, row.groups, row.rollouts)
    return (short_peer(row.peer), f"{row.seconds_ago:.0f} s", *map(str, counts), claims, *_stats_cells(row))


def told_figures(rows: Sequence[AnnouncementRow], look: Look) -> str:
    """How many of those in the table told their figures, and how many more, which announce nothing, did."""
    shown = sum(row.stats is not None for row in rows)
    others = len(look.stats) - shown
    more = (
        f"{counted(others, 'node')} more that announce{'s' if others == 1 else ''} nothing" if others else ""
    )
    told = f"{shown} of the table's {counted(len(rows), 'peer')} told figures" if rows else ""
    return ", and ".join(filter(None, (told, more))) or "none of them told figures"


def _stats_cells(row: AnnouncementRow) -> tuple[str, ...]:
    stats = row.stats
    if stats is None:
        return (row.no_answer or "no", "", "", "", "", "")
    counts = (stats.counters.get("fetched", 0), stats.counters.get("served", 0), stats.refused)
    return ("yes", stats.version, format_uptime(stats.uptime), *map(str, counts))


def format_uptime(seconds: float) -> str:
    """In the largest unit of which there is one at least."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _repeat(view: Callable[[], RenderableType], *, watch: bool) -> None:
    """One view or, on a terminal, one that redraws itself; elsewhere one after another."""
    console = new_console(WHOLE_ROWS)
    if not watch or not console.is_terminal:
        _print(console, view())
        while watch:
            time.sleep(WATCH_SECONDS)
            _print(console, view())
        return
    with Live(view(), console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            time.sleep(WATCH_SECONDS)
            live.update(view(), refresh=True)


@contextmanager
def _patience(words: str) -> Iterator[None]:
    """Says on standard error what is being waited for; on a terminal it moves."""
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:
        say_aside(words)
        yield
        return
    with console.status(words):
        yield


def _print(console: Console, view: RenderableType) -> None:
    if isinstance(view, str):
        console.out(view, highlight=False)  # as it is, however long
    else:
        console.print(view)
