"""A comparison with a baseline on standard output: a table for a person, one line of JSON for a script."""

from __future__ import annotations

import json

from rich import box
from rich.table import Table

from node.bench.regression.compare import Comparison, ComparisonReport
from node.ui.run_view import new_console
from node.ui.terminal.window import say_lines

COLUMNS = ("figure", "then", "now", "change", "tolerance", "finding")


def show_comparison(report: ComparisonReport, *, as_json: bool) -> None:
    """Every figure then and now, and a sentence on what moved."""
    console = new_console()
    if as_json:
        console.out(json.dumps(report.as_json(), allow_nan=False), highlight=False)
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for comparison in report.comparisons:
        table.add_row(*_cells(comparison))
    console.print(table)
    say_lines(summary_of(report))


def summary_of(report: ComparisonReport) -> str:
    """What moved, and what could not be compared."""
    moved = ", ".join(f"{c.name} ({c.finding})" for c in report.moved)
    words = f"moved beyond its tolerance: {moved}" if moved else "nothing moved beyond its tolerance"
    left_out = sum(c.finding == "other machine" for c in report.comparisons)
    if left_out:
        words += f"; {left_out} figures of another machine are not compared: add --update to measure this one"
    return words


def _cells(comparison: Comparison) -> tuple[str, ...]:
    then = f"{comparison.then:.3g} ({comparison.then_low:.3g} to {comparison.then_high:.3g})"
    now = f"{comparison.now:.3g} ({comparison.now_low:.3g} to {comparison.now_high:.3g})"
    change, tolerance = f"{comparison.change:+.0%}", f"{comparison.tolerance:.0%}"
    return comparison.name, then, now, change, tolerance, comparison.finding
