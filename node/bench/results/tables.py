"""The tables of docs/results.md: which reports they are made of, by which command, and what code these measure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
Report = Mapping[str, Any]  # as `murmur bench NAME --json` prints it


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a figure of a group of rows, as a median with its range where it has one."""

    title: str
    column: str
    digits: int = 2
    percent: bool = False  # a share that is shown as a change, +21 %

    def cell(self, rows: Sequence[Row]) -> str:
        """Empty where no row has the figure; words stay as they are."""
        found = [row[self.column] for row in rows if row.get(self.column) is not None]
        if not found:
            return ""
        if any(isinstance(value, str | bool) for value in found):
            return str(found[0])
        lows = [
            row.get(f"{self.column}_low", row[self.column])
            for row in rows
            if row.get(self.column) is not None
        ]
        highs = [
            row.get(f"{self.column}_high", row[self.column])
            for row in rows
            if row.get(self.column) is not None
        ]
        middle, low, high = statistics.median(found), min(lows), max(highs)
        if low == high:
            return self._shown(middle) + (" %" if self.percent else "")
        if self.percent:
            return f"{self._shown(middle)} % ({self._shown(low)} to {self._shown(high)})"
        return f"{self._shown(middle)} ({self._shown(low)}-{self._shown(high)})"

    def _shown(self, value: float) -> str:
        return f"{100 * value:+.0f}" if self.percent else f"{value:,.{self.digits}f}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table between the marks of its name in docs/results.md."""

    name: str
    commands: Mapping[str, str]  # file under results/, without .json -> options of `murmur bench`
    measures: tuple[str, ...]  # paths of the measured code
    keys: tuple[str, ...]  # columns whose values make a group of rows
    columns: tuple[Column, ...]
    where: Mapping[str, Any] = field(default_factory=dict)
    last: str | None = None  # only the rows with the largest value of this column

    def render(self, reports: Sequence[Report]) -> str:
        """The table in Markdown; a row a group, in the order of the reports."""
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for report in reports:
            for row in self._chosen(report):
                groups.setdefault(tuple(row[key] for key in self.keys), []).append(row)
        lines = [[*(key.replace("_", " ") for key in self.keys), *(c.title for c in self.columns)]]
        lines.append(["---"] * len(lines[0]))
        for group, rows in groups.items():
            lines.append([*map(str, group), *(column.cell(rows) for column in self.columns)])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def _chosen(self, report: Report) -> list[Row]:
        facts = {key: report["machine"][key] for key in self.keys if key in report["machine"]}
        rows = [facts | row for row in report["rows"]]
        mine = [row for row in rows if all(key in row for key in self.keys)]
        mine = [row for row in mine if all(row.get(key) == value for key, value in self.where.items())]
        if self.last and mine:
            end = max(row[self.last] for row in mine)
            mine = [row for row in mine if row[self.last] == end]
        return mine


_SHARING = (
    "node/runtime",
    "node/bench/sapo",
    "policies",
    "swarm/gossip",
    "swarm/sampling",
    "swarm/admission",
)
_SAPO = (
    Column("own reward", "own_reward", 1),
    Column("over 8/0", "uplift", percent=True),
    Column("at equal CPU s", "equal_time", percent=True),
    Column("held-out, 1 try", "pass_1"),
    Column("in 8", "pass_8"),
    Column("own groups made", "generated", 0),
    Column("CPU s", "cpu_seconds", 1),
    Column("the paper's metric", "metric_uplift", percent=True),
    Column("the paper", "paper"),
)

TABLES = (
    Table("sapo", {"sapo": "sapo --dir results/sapo"}, _SHARING, ("arm",), _SAPO),
    Table(
        "sapo-long",
        {n: f"sapo --rounds {n[5:]} --dir results/{n}" for n in ("sapo-200", "sapo-400")},
        _SHARING,
        ("rounds", "arm"),
        _SAPO[:-1],
    ),
    Table(
        "strategies",
        {"strategies": "strategies"},
        ("policies/strategies", "policies/text", "node/runtime"),
        ("strategy",),
        (
            Column("after 24 updates: 1 try", "steps_pass_1"),
            Column("in 8", "steps_pass_8"),
            Column("tokens sampled", "tokens", 0),
            Column("after 30,000 tokens: 1 try", "tokens_pass_1"),
            Column("in 8", "tokens_pass_8"),
            Column("usable groups", "usable_share"),
        ),
    ),
    Table(
        "branch",
        {"branch": "branch"},
        ("policies/diffusion", "policies/tasks", "node/bench/branch"),
        ("arm",),
        (
            Column("reward", "reward", 3),
            Column("judge", "judge"),
            Column("evaluations", "evaluations", 0),
            Column("roll-out CPU s", "rollout_cpu_s", 1),
            Column("training CPU s", "training_cpu_s", 1),
        ),
        last="iteration",
    ),
    Table(
        "engine",
        {"engine": "engine"},
        ("policies/text/engine", "node/bench/engine"),
        ("case", "contender", "dtype"),
        (Column("tokens a second", "tokens_per_s", 1), Column("over TRL", "over_trl", 1)),
    ),
    Table(
        "step",
        {"step": "step"},
        ("policies/text", "node/bench/step"),
        ("case",),
        (Column("TRL, s", "trl_s", 1), Column("ours, s", "ours_s", 1), Column("ratio", "ratio", 1)),
    ),
    Table(
        "gossip",
        {"gossip": "gossip"},
        ("swarm", "node/bench/gossip"),
        ("case", "nodes", "side"),
        (Column("MB a node and round", "mb"), Column("delivered", "delivered")),
    ),
    Table(
        "faults",
        {"faults": "faults"},
        ("swarm", "node/runtime", "node/bench/faults"),
        ("case",),
        (
            Column("longest gap between rounds, in median rounds", "longest_gap", 1),
            Column("delivery is back after, s", "recovery_s", 0),
            Column("groups trained twice", "trained_twice", 0),
        ),
    ),
    Table(
        "verifier",
        {"verifier": "verifier"},
        ("swarm/admission", "swarm/wire", "policies/text", "policies/tasks", "node/bench/attacks"),
        ("body",),
        (
            Column("groups a second", "groups_per_s", 0),
            Column("bytes", "wire_bytes", 0),
            Column("CPU ms", "cpu_ms", 1),
            Column("beyond what it brings", "cpu_ms_beyond", 1),
            Column("verdicts", "verdicts"),
        ),
    ),
    Table(
        "measures",
        {"attacks": "attacks"},
        ("swarm", "node/bench/attacks"),
        ("measure",),
        (Column("figure", "figure"),),
    ),
    Table(
        "attacks",
        {"attacks": "attacks"},
        ("swarm", "node/bench/attacks"),
        ("case",),
        (
            Column("groups a minute before", "before", 0),
            Column("during", "during", 0),
            Column("after", "after", 0),
            Column("kept", "kept"),
        ),
    ),
)
