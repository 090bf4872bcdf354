"""The terminal view of the demo: one row a node while it runs, and at its end the swarm against its baselines."""

from __future__ import annotations

import io
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from node.baseline.equal_compute import transport_cpu_seconds
from node.demo.gains import Gains
from node.demo.status import NodeStatus
from node.demo.waiting import as_shown, waited_for
from node.storage.run_folder import write_atomic
from node.ui.invocation import murmur
from node.ui.round_columns import format_refused
from node.ui.run_view import PLAIN_WIDTH, OutputStyle, Screen, sparkline
from node.ui.short_names import short_peer

RECENT = 5  # rounds in the moving reward
SPARKS = 6  # blocks of the reward's curve
PLAIN_ROUNDS = 8  # between two lines of a node where there is no terminal


class DemoView(Screen):
    """Shows the demo to a person (live on a terminal, lines elsewhere) or to a script."""

    def __init__(self, style: OutputStyle, path: Path, picture: Path | None = None) -> None:
        super().__init__(style)
        self._path = path
        self._picture = picture
        self._unfinished = False
        self._waits_for = ""  # the first word of what is waited for
        self._shown: dict[str, int] = {}  # the round that each node's last plain line was about

    def progress(self, who: str, what: str, done: int, total: int) -> None:
        """Long work before the first round: a line each quarter."""
        if done == total or done % max(1, total // 4) == 0:
            self.say(f"{who}: {what} {done}/{total}")

    def show(self, statuses: Sequence[NodeStatus]) -> None:
        """The table as of now; where there is no terminal, a line a node each time PLAIN_ROUNDS more are done."""
        self.wait_for("ending the rounds and saving" if self._unfinished else waited_for(statuses))
        statuses = as_shown(statuses)
        self.redraw(demo_table(statuses, self._title, self.width))
        if self.style == "plain":
            for status in statuses:
                self._say_news(status)

    def conclude(self, statuses: Sequence[NodeStatus], answers: int) -> int:
        """The comparison, as a table and a sentence or as one JSON line. Returns the exit code.

        `answers` are the problems of one evaluation. A live table, which shows the same, stands where it is.
        """
        gains = Gains.of(statuses, answers)
        if self.style == "json":
            self.say_json({"nodes": [status.facts() for status in statuses], **gains.facts})
        else:
            if self.style == "plain":
                self.print(demo_table(statuses, self._title, self.width))
            self.say(legend_for(shown_columns([row(status) for status in statuses], self.width)))
            self.say(closing_words(statuses, gains, self._path))
        if self._picture:
            draw_picture(statuses, gains, self._path, self._picture)
        return 3 if any(status.state.startswith("failed") for status in statuses) else 0

    def begin_early_end(self, number: int) -> None:
        """From now on the nodes are on their way to an end before their time, which a signal asked for."""
        self._unfinished = True
        self.tell_stopping(number, "after the round of each node and saving")

    def conclude_early(self, statuses: Sequence[NodeStatus]) -> None:
        """How far the nodes came, without a comparison; a live table stands where it is."""
        if self.style == "json":
            self.say_json({"nodes": [status.facts() for status in statuses], "unfinished": True})
        elif self.style == "live":
            self.show(statuses)
        else:
            self.print(demo_table(statuses, self._title, self.width))

    @property
    def _title(self) -> str:
        return f"{self._path} (unfinished)" if self._unfinished else str(self._path)

    def wait_for(self, what: str) -> None:
        """Said where it takes long, with seconds from when the demo began to wait for this kind of thing."""
        kind = what.split()[0]
        if kind != self._waits_for:
            self._waits_for = kind
            self.patience.begin(what)
        self.patience.reword(what)

    def _say_news(self, status: NodeStatus) -> None:
        if status.rounds and status.rounds[-1].round >= self._shown.get(status.label, 0) + PLAIN_ROUNDS:
            self._shown[status.label] = status.rounds[-1].round
            figures = (f"{name} {cell}" for name, cell in row(status).items() if cell and name != "node")
            self.say("  ".join((status.label, *figures)))


COLUMNS = (
    "node",
    "peer",
    "round",
    "reward",
    "held-out",
    "published",
    "received",
    "refused",
    "trained on",
    "state",
)

MEANINGS = {
    "node": "baseline: the same start, trained alone for at least as many CPU seconds",
    "reward": "reward: of the newest rounds",
    "held-out": "held-out: reward on problems that nobody trains on, first > last",
    "received": "received: groups of rollouts of one problem that peers sent",
    "trained on": "trained on: groups of rollouts of one problem, the node's own and those of peers (ext.)",
}

# Left out one after the other where the window is too narrow for all.
LEFT_OUT_FIRST = ("peer", "published", "received", "refused", "state")
WRAPPED = ("refused", "state")  # cells that may take more than one line
WRAPPED_WIDTH = 8
GAP = 2  # characters between columns


def demo_table(statuses: Sequence[NodeStatus], title: str, width: int) -> Table:
    """One row a node; rewards are means in [0, 1], `reward` over the node's last RECENT rounds.

    `trained on` counts groups, own and external, those of zero advantage left out.
    """
    rows = [row(status) for status in statuses]
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
        show_edge=False,
    )
    shown = shown_columns(rows, width)
    for name in shown:
        table.add_column(name, no_wrap=name not in WRAPPED, min_width=_column_width(rows, name))
    for status, cells in zip(statuses, rows, strict=True):
        table.add_row(*(cells[name] for name in shown), end_section=status.role == "baseline")
    return table


def shown_columns(rows: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """The columns that `width` characters have room for."""
    shown = list(COLUMNS)
    for name in LEFT_OUT_FIRST:
        if sum(_column_width(rows, column) + GAP for column in shown) - GAP <= width:
            break
        shown.remove(name)
    return shown


def legend_for(shown: Sequence[str]) -> str:
    """The words for those columns that the table has."""
    return "; ".join(MEANINGS[name] for name in shown if name in MEANINGS)


def _column_width(rows: Sequence[Mapping[str, str]], name: str) -> int:
    width = max(map(len, (name, *(cells[name] for cells in rows))))
    return min(width, WRAPPED_WIDTH) if name in WRAPPED else width


def draw_picture(statuses: Sequence[NodeStatus], gains: Gains, path: Path, picture: Path) -> None:
    """The closing table and words as an SVG file that asks nothing of the network, fonts included."""
    console = Console(record=True, width=PLAIN_WIDTH, file=io.StringIO(), highlight=False)
    console.print(demo_table(statuses, str(path), PLAIN_WIDTH))
    console.out(closing_words(statuses, gains, path), highlight=False)
    drawn = console.export_svg(title="murmur demo")
    write_atomic(picture, re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.S))


def row(status: NodeStatus) -> dict[str, str]:
    """One node's cells by column."""
    facts, rewards = status.facts(), [event.reward for event in status.rounds]
    recent = statistics.fmean(rewards[-RECENT:]) if rewards else None
    cells = (
        status.label,
        short_peer(status.peer),
        str(facts["rounds"]),
        f"{_figure(recent)} {sparkline(rewards, SPARKS)}",
        f"{_figure(status.first_reward)} > {_figure(status.last_reward)}",
        str(facts["published"]),
        str(facts["received"]),
        format_refused(facts["refused"]),
        f"{facts['trained_local']} own, {facts['trained_external']} ext.",
        status.state,
    )
    return dict(zip(COLUMNS, cells, strict=True))


def closing_words(statuses: Sequence[NodeStatus], gains: Gains, path: Path) -> str:
    """What the figures say and where to look next."""
    if gains.by_compute is None:
        return f"no pair of node and baseline finished; see the logs under {path}"
    compute = {
        role: statistics.fmean(s.cpu_seconds for s in statuses if s.role == role)
        for role in ("swarm", "baseline")
    }
    network = statistics.fmean(transport_cpu_seconds(s.rounds) for s in statuses if s.role == "swarm")
    return (
        "held-out reward, swarm against silo baselines\n"
        f"  after as many rounds: {gains.by_rounds.summary if gains.by_rounds else 'not evaluated'}\n"
        f"  at equal compute:     {gains.by_compute.summary}\n"
        f"CPU seconds a node: {compute['swarm']:.1f} in the swarm, of which {network:.1f} for the network; "
        f"{compute['baseline']:.1f} as a baseline\n"
        f"what a node made of its peers: {murmur('peers', path / 'swarm-1')}\n"
        f"its curves in a browser: {murmur('dashboard', path / 'swarm-1')}{_left_to_play(statuses, path)}"
    )


def _left_to_play(statuses: Sequence[NodeStatus], path: Path) -> str:
    """A line on the first node that did not come to its end; empty where all did."""
    cut = next((s for s in statuses if s.role == "swarm" and s.state.startswith(("killed", "stopped"))), None)
    if cut is None:
        return ""
    folder = path / f"swarm-{cut.number}"
    return f"\n{cut.label} was {cut.state}; it goes on with: {murmur('run', '--resume', '--run-dir', folder)}"


def _figure(value: float | None) -> str:
    return "  -  " if value is None else f"{value:.3f}"
