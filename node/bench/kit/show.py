"""A benchmark's report on standard output: tables for a person, one line of JSON for a script."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from node.bench.kit.report import Check, Report, Row
from node.ui.run_view import new_console

CHECK_COLUMNS = ("check", "ours", "low", "high", "band", "paper", "holds")


def show_report(report: Report, *, as_json: bool) -> None:
    """The machine, the rows and the checks; in JSON one object on a line."""
    console = new_console()
    if as_json:
        console.out(json.dumps(report.as_json(), allow_nan=False), highlight=False)
        return
    tables = [_facts(report), *_row_tables(report.rows)]
    for table in [*tables, _check_table(report.checks)] if report.checks else tables:
        if not console.is_terminal:  # a file's lines may be as long as the table needs
            console.width = max(console.width, _needed_width(console, table))
        console.print(table)


def _facts(report: Report) -> Table:
    table = Table(box=None, show_header=False, title=f"bench {report.name}", title_justify="left")
    for name, value in report.machine.items():
        table.add_row(name, _cell(value))
    table.add_row("seeds", ", ".join(map(str, report.seeds)))
    return table


def _row_tables(rows: Sequence[Row]) -> Iterable[Table]:
    """Neighbouring rows with the same columns share a table."""
    for columns, same in groupby(rows, key=tuple):
        table = _table(columns)
        for row in same:
            table.add_row(*(_cell(value) for value in row.values()))
        yield table


def _check_table(checks: Sequence[Check]) -> Table:
    table = _table(CHECK_COLUMNS)
    for check in checks:
        figures = (_cell(value) for value in (check.ours, check.low, check.high))
        holds = "yes" if check.holds else "no"
        table.add_row(check.name, *figures, _band(check), check.paper, holds)
    return table


def _table(columns: Iterable[str]) -> Table:
    """Headers break at underscores; on a narrow terminal cells are folded, never cut."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column.replace("_", "\n"), overflow="fold", vertical="bottom")
    return table


def _needed_width(console: Console, table: Table) -> int:
    unbounded = console.options.update(max_width=10_000)
    return Measurement.get(console, unbounded, table).maximum


def _band(check: Check) -> str:
    if math.isinf(check.ceiling):
        return "any" if math.isinf(check.floor) else f">= {check.floor:g}"
    return f"<= {check.ceiling:g}" if math.isinf(check.floor) else f"{check.floor:g} to {check.ceiling:g}"


def _cell(value: str | int | float | bool | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
