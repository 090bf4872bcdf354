"""A table of docs/results.md: its columns, how reports become rows of it, and the line that says what made it."""

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
    signed: bool = False  # a difference, +0.12

    def cell(self, rows: Sequence[Row]) -> str:
        """Empty where no row has the figure; words stay as they are."""
        found = [row[self.column] for row in rows if row.get(self.column) is not None]
        if not found:
            return ""
        if any(isinstance(value, str | bool) for value in found):
            return str(found[0])
        middle, low, high = (
            statistics.median(found),
            min(self._ends(rows, "low")),
            max(self._ends(rows, "high")),
        )
        unit, to = (" %", " to ") if self.percent else ("", " to " if self.signed else "-")
        if low == high:
            return self._shown(middle) + unit
        return f"{self._shown(middle)}{unit} ({self._shown(low)}{to}{self._shown(high)})"

    def _ends(self, rows: Sequence[Row], end: str) -> list[float]:
        """The figure's own end of its range or interval, or the figure where it has none."""
        having = [row for row in rows if row.get(self.column) is not None]
        ends = [(row.get(f"{self.column}_{end}"), row[self.column]) for row in having]
        return [plain if known is None else known for known, plain in ends]

    def _shown(self, value: float) -> str:
        if self.percent:
            return f"{100 * value:+.0f}"
        return f"{value:+,.{self.digits}f}" if self.signed else f"{value:,.{self.digits}f}"


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
        rows = [facts | row for row in (*report["rows"], *map(_check_row, report["checks"]))]
        mine = [row for row in rows if all(key in row for key in self.keys)]
        mine = [row for row in mine if all(row.get(key) == value for key, value in self.where.items())]
        if self.last and mine:
            end = max(row[self.last] for row in mine)
            mine = [row for row in mine if row[self.last] == end]
        return mine


def _check_row(check: Row) -> Row:
    """A check of a report as a row, whose key is `check`."""
    low, high = check["band"]
    words = [f"{name} {end:g}" for name, end in (("at least", low), ("at most", high)) if end is not None]
    return {
        "check": check["name"],
        "paper": check["paper"],
        "ours": check["ours"],
        "ours_low": check["low"],
        "ours_high": check["high"],
        "bar": ", ".join(words),
        "holds": ("yes" if check["holds"] else "no") if words else None,
    }


def source_of(options: str, report: Report) -> str:
    """What made a report, in a line: the command, the day, the commit and the machine."""
    facts = report["machine"]
    words = [f"`murmur bench {options}`", str(facts.get("date", "undated"))]
    words.append(f"commit {facts.get('commit', 'unknown')}")
    if "cpu" in facts:
        words.append(f"{facts.get('cores', '?')} cores of {facts.get('gpu', facts['cpu'])}")
    if "load" in facts:
        words.append(f"a load of {facts['load']} as it began")
    return ", ".join(words) + "."
