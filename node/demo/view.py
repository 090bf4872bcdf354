"""How the demo looks: one row a node while it runs, and at its end the swarm against the twins."""

from __future__ import annotations

import io
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

from node.baseline.uplift import cpu_seconds
from node.storage.events import EvaluationEvent, History, LifeEvent, RoundEvent
from node.storage.run_folder import RunFolder
from node.ui.run_view import PLAIN_WIDTH, OutputStyle, Screen, format_refused, sparkline

Role = Literal["swarm", "twin"]
RECENT = 5  # rounds in the moving reward
PLAIN_ROUNDS = 8  # between two lines of a node where there is no terminal


@dataclass(frozen=True, slots=True)
class Member:
    """One node process of the demo."""

    number: int
    role: Role
    folder: RunFolder
    process: subprocess.Popen[bytes]

    @property
    def label(self) -> str:
        return f"{'node' if self.role == 'swarm' else 'twin'} {self.number}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the demo knows of one member at one moment, all of it read from the member's event store."""

    number: int
    role: Role
    label: str
    peer: str
    rounds: list[RoundEvent]
    evaluations: list[EvaluationEvent]
    state: str

    @property
    def first_reward(self) -> float | None:
        """Held-out reward before the first round."""
        return self.evaluations[0].reward if self.evaluations else None

    @property
    def last_reward(self) -> float | None:
        """Held-out reward after the last round; None before it."""
        return self.evaluations[-1].reward if len(self.evaluations) > 1 else None

    @property
    def refused(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for event in self.rounds:
            total.update(event.refused)
        return dict(total)

    @property
    def cpu_seconds(self) -> float:
        """Processor time spent in rounds, by all threads of the node."""
        return cpu_seconds(self.rounds)

    def facts(self) -> dict[str, Any]:
        """The figures that scripts rely on; seconds are wall time in rounds, cpu_seconds of all threads."""
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
        }


def standing(member: Member) -> Standing:
    """Reads a member's store; safe while the member writes it."""
    history = History(member.folder.events)
    life = history.life()
    return Standing(
        number=member.number,
        role=member.role,
        label=member.label,
        peer=next((event.facts["peer"] for event in reversed(life) if "peer" in event.facts), ""),
        rounds=history.rounds(),
        evaluations=history.evaluations(),
        state=_state(member, life),
    )


def uplift(standings: Sequence[Standing]) -> float | None:
    """Mean over pairs of (node's last held-out reward minus its twin's); None without a finished pair."""
    twins = {s.number: s.last_reward for s in standings if s.role == "twin"}
    gains = [
        s.last_reward - twin
        for s in standings
        if s.role == "swarm" and s.last_reward is not None and (twin := twins.get(s.number)) is not None
    ]
    return statistics.fmean(gains) if gains else None


class DemoView(Screen):
    """Shows the demo to a person (live on a terminal, lines elsewhere) or to a script."""

    def __init__(self, style: OutputStyle, path: Path, picture: Path | None = None) -> None:
        super().__init__(style)
        self._path = path
        self._picture = picture
        self._told: dict[str, int] = {}  # the round that each node's last plain line was about

    def progress(self, who: str, what: str, done: int, total: int) -> None:
        """Long work before the first round: a line each quarter."""
        if done == total or done % max(1, total // 4) == 0:
            self.say(f"{who}: {what} {done}/{total}")

    def show(self, standings: Sequence[Standing]) -> None:
        """The table as of now; where there is no terminal, a line a node each time PLAIN_ROUNDS more are done."""
        self.redraw(demo_table(standings, str(self._path)))
        if self.style == "plain":
            for standing in standings:
                self._say_news(standing)

    def conclude(self, standings: Sequence[Standing]) -> int:
        """The comparison, as a table and a sentence or as one JSON line. Returns the exit code."""
        gain = uplift(standings)
        if self.style == "json":
            self.say_json({"nodes": [standing.facts() for standing in standings], "uplift": gain})
        else:
            self.print(demo_table(standings, str(self._path)))
            self.say(closing_words(standings, gain, self._path))
        if self._picture:
            draw_picture(standings, gain, self._path, self._picture)
        return 3 if any(standing.state.startswith("failed") for standing in standings) else 0

    def _say_news(self, standing: Standing) -> None:
        if standing.rounds and standing.rounds[-1].round >= self._told.get(standing.label, 0) + PLAIN_ROUNDS:
            self._told[standing.label] = standing.rounds[-1].round
            self.say(
                "  ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, row(standing), strict=True) if cell)
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
    "own+ext",
    "state",
)


def demo_table(standings: Sequence[Standing], title: str) -> Table:
    """One row a node; rewards are means in [0, 1], `reward` over the node's last RECENT rounds.

    `own+ext` counts the groups that were trained on, those of zero advantage left out.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    for column in COLUMNS:
        table.add_column(column, no_wrap=column != "refused")
    for standing in standings:
        table.add_row(*row(standing), end_section=standing.role == "twin")
    return table


def plain_standing(standing: Standing) -> str:
    """One node's row as a line."""
    label, *cells = row(standing)
    named = (f"{name} {cell}" for name, cell in zip(COLUMNS[1:], cells, strict=True) if cell)
    return f"{label}  " + "  ".join(named)


def draw_picture(standings: Sequence[Standing], gain: float | None, path: Path, picture: Path) -> None:
    """The closing table and words as an SVG file."""
    console = Console(record=True, width=PLAIN_WIDTH, file=io.StringIO(), highlight=False)
    console.print(demo_table(standings, str(path)))
    console.out(closing_words(standings, gain, path), highlight=False)
    console.save_svg(str(picture), title="murmur demo")


def row(standing: Standing) -> tuple[str, ...]:
    """One node's cells in the order of COLUMNS."""
    facts, rewards = standing.facts(), [event.reward for event in standing.rounds]
    recent = statistics.fmean(rewards[-RECENT:]) if rewards else None
    return (
        standing.label,
        standing.peer[-8:],
        str(facts["rounds"]),
        f"{_figure(recent)} {sparkline(rewards, 10)}",
        f"{_figure(standing.first_reward)} > {_figure(standing.last_reward)}",
        str(facts["published"]),
        str(facts["received"]),
        format_refused(facts["refused"]),
        f"{facts['trained_local']}+{facts['trained_external']}",
        standing.state,
    )


def closing_words(standings: Sequence[Standing], gain: float | None, path: Path) -> str:
    """What the figures say and where to look next."""
    if gain is None:
        return f"no pair of node and twin finished; see the logs under {path}"
    compute = {
        role: statistics.fmean(s.cpu_seconds for s in standings if s.role == role)
        for role in ("swarm", "twin")
    }
    return (
        f"held-out reward, swarm against silo twins at equal compute: {gain:+.3f}\n"
        f"CPU seconds a node: {compute['swarm']:.1f} in the swarm, {compute['twin']:.1f} as a twin\n"
        f"what a node made of its peers: murmur peers --run-dir {path}/swarm-1\n"
        f"a node that was killed goes on with: murmur run --resume --run-dir {path}/swarm-1"
    )


def _figure(value: float | None) -> str:
    return "  -  " if value is None else f"{value:.3f}"


def _state(member: Member, life: Sequence[LifeEvent]) -> str:
    code = member.process.poll()
    newest = life[-1].what if life else "starting"
    if code is None or newest in ("finished", "stopped", "resumed"):
        return "running" if newest in ("started", "joined") else newest
    return f"killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
