"""The terminal view of the demo: one row a node while it runs, and at its end the swarm against its baselines."""

from __future__ import annotations

import io
import re
import statistics
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from node.baseline.equal_compute import cpu_seconds, transport_cpu_seconds
from node.baseline.uplift import Point, PooledUplift, Uplift, difference, evaluations_by_cpu, pooled
from node.storage.events import History, LifeEvent, RoundEvent
from node.storage.run_folder import RunFolder
from node.ui.invocation import murmur
from node.ui.round_columns import format_refused
from node.ui.run_view import PLAIN_WIDTH, OutputStyle, Screen, sparkline
from node.ui.short_names import short_peer

Role = Literal["swarm", "baseline"]
RECENT = 5  # rounds in the moving reward
PLAIN_ROUNDS = 8  # between two lines of a node where there is no terminal


@dataclass(frozen=True, slots=True)
class DemoNode:
    """One node process of the demo."""

    number: int
    role: Role
    folder: RunFolder
    process: subprocess.Popen[bytes]

    @property
    def label(self) -> str:
        return f"{'node' if self.role == 'swarm' else 'baseline'} {self.number}"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What the demo knows of one member at one moment, all of it read from the member's event store."""

    number: int
    role: Role
    label: str
    peer: str
    rounds: list[RoundEvent]
    evaluated: list[Point]  # held-out rewards
    state: str

    @property
    def first_reward(self) -> float | None:
        """Held-out reward before the first round."""
        return self.evaluated[0].reward if self.evaluated else None

    @property
    def last_reward(self) -> float | None:
        """Held-out reward after the last round; None before it."""
        return self.evaluated[-1].reward if len(self.evaluated) > 1 else None

    @property
    def refused(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for event in self.rounds:
            total.update(event.refused)
        return dict(total)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of rounds: all threads of the node, its transport's process and the daemon."""
        return cpu_seconds(self.rounds)

    def facts(self) -> dict[str, Any]:
        """The figures that scripts rely on; seconds are wall time in rounds, cpu_seconds the transport's too."""
        return {
            "peer": self.peer,
            "role": self.role,
            "rounds": self.rounds[-1].round if self.rounds else 0,
            "first_reward": self.first_reward,
            "last_reward": self.last_reward,
            "published": sum(event.published for event in self.rounds),
            "received": sum(event.received for event in self.rounds),
            "refused": self.refused,
            "trained_external": sum(event.trained_external for event in self.rounds),
            "trained_local": sum(event.trained_local for event in self.rounds),
            "seconds": round(sum(event.seconds for event in self.rounds), 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "transport_cpu_seconds": round(transport_cpu_seconds(self.rounds), 2),
        }


def read_status(member: DemoNode) -> NodeStatus:
    """Reads a member's store; safe while the member writes it."""
    history = History(member.folder.events)
    life = history.life()
    return NodeStatus(
        number=member.number,
        role=member.role,
        label=member.label,
        peer=next((event.facts["peer"] for event in reversed(life) if "peer" in event.facts), ""),
        rounds=history.rounds(),
        evaluated=evaluations_by_cpu(history),
        state=_state(member, life),
    )


def uplifts(statuses: Sequence[NodeStatus], answers: int) -> list[Uplift]:
    """Node against baseline for each pair that finished; an evaluation is of `answers`."""
    ended = {(s.role, s.number): s.evaluated[-1] for s in statuses if s.last_reward is not None}
    numbers = [number for role, number in ended if role == "swarm" and ("baseline", number) in ended]
    if not answers:
        return []
    return [difference(ended["swarm", n], ended["baseline", n], answers) for n in numbers]


class DemoView(Screen):
    """Shows the demo to a person (live on a terminal, lines elsewhere) or to a script."""

    def __init__(self, style: OutputStyle, path: Path, picture: Path | None = None) -> None:
        super().__init__(style)
        self._path = path
        self._picture = picture
        self._shown: dict[str, int] = {}  # the round that each node's last plain line was about

    def progress(self, who: str, what: str, done: int, total: int) -> None:
        """Long work before the first round: a line each quarter."""
        if done == total or done % max(1, total // 4) == 0:
            self.say(f"{who}: {what} {done}/{total}")

    def show(self, statuses: Sequence[NodeStatus]) -> None:
        """The table as of now; where there is no terminal, a line a node each time PLAIN_ROUNDS more are done."""
        self.redraw(demo_table(statuses, str(self._path)))
        if self.style == "plain":
            for status in statuses:
                self._say_news(status)

    def conclude(self, statuses: Sequence[NodeStatus], answers: int) -> int:
        """The comparison, as a table and a sentence or as one JSON line. Returns the exit code.

        `answers` are the problems of one evaluation.
        """
        gain = pooled(uplifts(statuses, answers))
        if self.style == "json":
            self.say_json({"nodes": [status.facts() for status in statuses], **_gain_facts(gain)})
        else:
            self.print(demo_table(statuses, str(self._path)))
            self.say(closing_words(statuses, gain, self._path))
        if self._picture:
            draw_picture(statuses, gain, self._path, self._picture)
        return 3 if any(status.state.startswith("failed") for status in statuses) else 0

    def _say_news(self, status: NodeStatus) -> None:
        if status.rounds and status.rounds[-1].round >= self._shown.get(status.label, 0) + PLAIN_ROUNDS:
            self._shown[status.label] = status.rounds[-1].round
            self.say(
                "  ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, row(status), strict=True) if cell)
            )


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


def demo_table(statuses: Sequence[NodeStatus], title: str) -> Table:
    """One row a node; rewards are means in [0, 1], `reward` over the node's last RECENT rounds.

    `trained on` counts groups, own and external, those of zero advantage left out.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    for column in COLUMNS:
        table.add_column(column, no_wrap=column != "refused")
    for status in statuses:
        table.add_row(*row(status), end_section=status.role == "baseline")
    return table


def draw_picture(
    statuses: Sequence[NodeStatus], gain: PooledUplift | None, path: Path, picture: Path
) -> None:
    """The closing table and words as an SVG file that asks nothing of the network, fonts included."""
    console = Console(record=True, width=PLAIN_WIDTH, file=io.StringIO(), highlight=False)
    console.print(demo_table(statuses, str(path)))
    console.out(closing_words(statuses, gain, path), highlight=False)
    drawn = console.export_svg(title="murmur demo")
    picture.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.S), encoding="utf-8")


def row(status: NodeStatus) -> tuple[str, ...]:
    """One node's cells in the order of COLUMNS."""
    facts, rewards = status.facts(), [event.reward for event in status.rounds]
    recent = statistics.fmean(rewards[-RECENT:]) if rewards else None
    return (
        status.label,
        short_peer(status.peer),
        str(facts["rounds"]),
        f"{_figure(recent)} {sparkline(rewards, 10)}",
        f"{_figure(status.first_reward)} > {_figure(status.last_reward)}",
        str(facts["published"]),
        str(facts["received"]),
        format_refused(facts["refused"]),
        f"{facts['trained_local']} own, {facts['trained_external']} ext.",
        status.state,
    )


def closing_words(statuses: Sequence[NodeStatus], gain: PooledUplift | None, path: Path) -> str:
    """What the figures say and where to look next."""
    if gain is None:
        return f"no pair of node and baseline finished; see the logs under {path}"
    compute = {
        role: statistics.fmean(s.cpu_seconds for s in statuses if s.role == role)
        for role in ("swarm", "baseline")
    }
    network = statistics.fmean(transport_cpu_seconds(s.rounds) for s in statuses if s.role == "swarm")
    return (
        f"held-out reward, swarm against silo baselines at equal compute: {gain.summary}\n"
        f"CPU seconds a node: {compute['swarm']:.1f} in the swarm, of which {network:.1f} for the network; "
        f"{compute['baseline']:.1f} as a baseline\n"
        f"what a node made of its peers: {murmur('peers', '--run-dir', path / 'swarm-1')}\n"
        f"its curves in a browser: {murmur('dashboard', path / 'swarm-1')}\n"
        f"a node that was killed goes on with: {murmur('run', '--resume', '--run-dir', path / 'swarm-1')}"
    )


def _gain_facts(gain: PooledUplift | None) -> dict[str, float | None]:
    if gain is None:
        return {"uplift": None, "uplift_low": None, "uplift_high": None}
    return {"uplift": gain.gain, "uplift_low": gain.low, "uplift_high": gain.high}


def _figure(value: float | None) -> str:
    return "  -  " if value is None else f"{value:.3f}"


def _state(member: DemoNode, life: Sequence[LifeEvent]) -> str:
    code = member.process.poll()
    newest = life[-1].what if life else "starting"
    if code is None or newest in ("finished", "stopped", "resumed"):
        return "running" if newest in ("started", "joined") else newest
    return f"killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
