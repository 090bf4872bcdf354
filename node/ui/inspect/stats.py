"""`murmur stats`: what a round spends its time on, whether the policy still learns, and what peers brought."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from node.storage.events import History, RoundEvent
from node.storage.rollout_rows import verdict_words
from node.storage.run_folder import RunFolder
from node.ui.inspect.trend import Trend, trend_of
from node.ui.inspect.weights import weights_of
from node.ui.peer_rows import PeerHistoryRow, peer_history
from node.ui.round_columns import format_refused
from node.ui.run_view import new_console
from node.ui.short_names import digests_left_out, short_peer, short_tasks
from node.ui.terminal.window import say_lines
from swarm.visible_text import counted, one_line, plain_json

WINDOW: Final = 10  # rounds at either end that are compared


@dataclass(frozen=True, slots=True)
class TaskStats:
    """Mean rewards of own rollouts in the first and the last rounds, and on held-out problems."""

    first: float | None
    last: float | None
    first_held_out: float | None
    last_held_out: float | None


@dataclass(frozen=True, slots=True)
class RunStats:
    """All rounds of a run summed up."""

    run: str
    rounds: int
    seconds: float  # wall, in rounds
    cpu_seconds: float
    tokens: int  # sampled
    # Wall seconds by phase, of the rounds that tell; `other` is what is left of theirs.
    phases: dict[str, float]
    tasks: dict[str, TaskStats]
    trained_own: int  # groups
    trained_external: int
    dropped: dict[str, int]  # own groups not trained on, by reason
    refused: dict[str, int]
    peers: list[PeerHistoryRow]
    trend: Trend


def show_stats(folder: RunFolder, last: int | None, *, as_json: bool) -> None:
    """Prints the figures of a run, or of its `last` rounds. Raises StoreError."""
    stats = sum_up(str(folder.path), History.of_last(folder.events, last))
    weights = weights_of(folder)
    console = new_console()
    if as_json:
        return console.out(plain_json(asdict(stats) | {"weights": asdict(weights)}), highlight=False)
    if not stats.rounds:
        played = f"the figures of its rounds are gone with its event store; {weights.words}"
        return say_lines(f"{folder.path}: {played if weights.round else 'no round is finished so far'}")
    rate = f"{stats.tokens / stats.seconds:,.0f} tokens a second, " if stats.seconds else ""
    say_lines(
        f"{folder.path}: {counted(stats.rounds, 'round')}, {stats.seconds / stats.rounds:.2f} s a round, {rate}"
        f"{stats.cpu_seconds:,.1f} CPU seconds in all"
    )
    say_lines(f"{stats.trend.words}\n{weights.words}")
    _print_phases(console, stats)
    _print_tasks(console, stats)
    _print_groups(console, stats)


def sum_up(run: str, history: History) -> RunStats:
    rounds = history.rounds()
    dropped, refused = Counter[str](), Counter[str]()
    for event in rounds:
        dropped.update(event.dropped)
        refused.update(event.refused)
    return RunStats(
        run=run,
        rounds=len(rounds),
        seconds=sum(event.seconds for event in rounds),
        cpu_seconds=sum(event.cpu_seconds for event in rounds),
        tokens=sum(event.tokens for event in rounds),
        phases=phase_seconds(rounds),
        tasks=_task_stats(rounds, history),
        trained_own=sum(event.trained_local for event in rounds),
        trained_external=sum(event.trained_external for event in rounds),
        dropped=dict(dropped),
        refused=dict(refused),
        peers=peer_history(history),
        trend=trend_of(rounds, history.evaluations()),
    )


def phase_seconds(rounds: Sequence[RoundEvent]) -> dict[str, float]:
    """Wall seconds by phase, `other` last; empty where no round tells, as in runs of before."""
    telling = [event for event in rounds if event.phases]
    total = Counter[str]()
    for event in telling:
        total.update(event.phases)
    if not telling:
        return {}
    rest = sum(event.seconds for event in telling) - sum(total.values())
    return dict(total) | {"other": max(0.0, rest)}


def window_of(rounds: int) -> int:
    """How many rounds at either end of a run are compared: at most WINDOW, and none twice if there are two."""
    return max(1, min(WINDOW, rounds // 2))


def _task_stats(rounds: Sequence[RoundEvent], history: History) -> dict[str, TaskStats]:
    evaluations, window = history.evaluations(), window_of(len(rounds))
    first, last = (evaluations[0], evaluations[-1]) if evaluations else (None, None)
    names = {task for event in rounds for task in event.rewards_by_task}
    names.update(task for event in evaluations for task in event.rewards_by_task)
    return {
        task: TaskStats(
            _mean(rounds[:window], task),
            _mean(rounds[-window:], task),
            first.rewards_by_task.get(task) if first else None,
            last.rewards_by_task.get(task) if last else None,
        )
        for task in sorted(names)
    }


def _mean(rounds: Sequence[RoundEvent], task: str) -> float | None:
    rewards = [event.rewards_by_task[task] for event in rounds if task in event.rewards_by_task]
    return statistics.fmean(rewards) if rewards else None


def _print_phases(console: Console, stats: RunStats) -> None:
    if not stats.phases:
        return say_lines("its rounds do not tell what they spent their time on: they are of before")
    total = sum(stats.phases.values()) or 1.0
    table = _table("a round's time", ("phase", "share", "seconds a round"))
    for name, seconds in stats.phases.items():
        table.add_row(Text(one_line(name)), f"{seconds / total:.0%}", f"{seconds / stats.rounds:.3f}")
    console.print(table)


def _print_tasks(console: Console, stats: RunStats) -> None:
    window = window_of(stats.rounds)
    heads = (
        "task",
        f"first {counted(window, 'round')}",
        f"last {counted(window, 'round')}",
        "held out before",
        "held out now",
    )
    table, short = _table("reward by task", heads), short_tasks(stats.tasks)
    for name, task in stats.tasks.items():
        figures = (task.first, task.last, task.first_held_out, task.last_held_out)
        cells = ("-" if figure is None else f"{figure:.3f}" for figure in figures)
        table.add_row(Text(one_line(short[name])), *cells)
    console.print(table)
    if words := digests_left_out(short):
        say_lines(words)


def _print_groups(console: Console, stats: RunStats) -> None:
    trained = stats.trained_own + stats.trained_external
    share = f" ({stats.trained_external / trained:.0%})" if trained else ""
    untrained = {verdict_words(why): count for why, count in stats.dropped.items()}
    say_lines(
        f"groups trained on: {stats.trained_own} own, {stats.trained_external} of peers{share}; own groups not "
        f"trained on: {one_line(format_refused(untrained))}; refused: {one_line(format_refused(stats.refused))}"
    )
    if not stats.peers:
        return
    table = _table("peers", ("peer", "received", "trained on", "of the updates", "refused", "standing"))
    for row in stats.peers:
        of_updates = f"{row.trained_on / trained:.0%}" if trained else "-"
        cells = (short_peer(row.peer), str(row.received), str(row.trained_on), of_updates)
        table.add_row(*(Text(one_line(cell)) for cell in (*cells, format_refused(row.refused), row.standing)))
    console.print(table)


def _table(title: str, heads: Sequence[str]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head)
    return table
