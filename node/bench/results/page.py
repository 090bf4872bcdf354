"""Finished cells on disk, and the page that holds their tables."""

from __future__ import annotations

import re
from pathlib import Path

from node.bench.kit.machine import commits_since
from node.bench.kit.options import BenchError
from node.bench.results.plots import PLOTS, READ_ERRORS, draw_plot
from node.bench.results.table import Report, Table, source_of
from node.bench.results.tables import TABLES
from node.storage.run_folder import write_atomic
from policies.error_words import brief
from policies.plain_files import read_json


def regenerate(root: Path) -> list[str]:
    """Writes every table and plot whose cells are kept under `root`/results; returns a line on each of all.

    A table has the rows of those of its cells that are kept; without any it stays as it is. Raises BenchError for
    cells that cannot be read, or a page without the marks.
    """
    kept, page = root / "results", root / "docs" / "results.md"
    text = page.read_text(encoding="utf-8")
    said: list[str] = []
    for table in TABLES:
        reports = [read_report(kept / f"{name}.json") for name in table.commands]
        said.append(f"table {table.name}: {_standing(table, reports, root)}")
        text = replace_table(text, table.name, _made(table, reports))
    for picture, source in PLOTS.items():
        said.append(f"plot {picture}: {_draw(picture, kept, root)} results/{source}")
    said.append("plot demo.svg: no cells, it shows one run: murmur demo --picture docs/images/demo.svg")
    write_atomic(page, text)
    return said


def _made(table: Table, reports: list[Report | None]) -> str | None:
    """The table, and under it a line on what made each part of it; None where nothing is kept."""
    pairs = zip(table.commands.values(), reports, strict=True)
    kept = [(options, report) for options, report in pairs if report is not None]
    if not kept:
        return None
    rows = table.render([report for _, report in kept])
    return "\n\n".join([rows, "<br>\n".join(source_of(*pair) for pair in kept)])


def replace_table(text: str, name: str, table: str | None) -> str:
    """The page with a new table between its marks; None leaves what is there. Raises BenchError without marks."""
    marks = re.compile(rf"(<!-- table {re.escape(name)} -->\n).*?(\n<!-- end -->)", re.DOTALL)
    if not marks.search(text):
        raise BenchError(
            f"docs/results.md has no marks for its table {name!r}: <!-- table {name} --> ... <!-- end -->"
        )
    return (
        text if table is None else marks.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", text, count=1)
    )


def read_report(path: Path) -> Report | None:
    """A kept report; None where there is none. Raises BenchError for a file that is none, or that was broken off."""
    if not path.is_file():
        return None
    try:
        report: Report = read_json(path)
        well_formed = all(isinstance(row, dict) for row in report["rows"]) and isinstance(
            report["machine"], dict
        )
        complete = bool(report["rows"]) and report.get("complete", True) is True
    except READ_ERRORS:
        well_formed = False
    if not well_formed:
        raise BenchError(f"{path} is no report of murmur bench --json: move it away")
    if not complete:
        raise BenchError(
            f"{path} was broken off before all was measured: run its command to the end, or move it away"
        )
    return report


def _standing(table: Table, reports: list[Report | None], root: Path) -> str:
    pairs = list(zip(table.commands, reports, strict=True))
    missing = [name for name, report in pairs if report is None]
    how = "; ".join(f"murmur bench {table.commands[n]} --json > results/{n}.json" for n in missing)
    if len(missing) == len(pairs):
        return f"no kept cells, left as it is. Make them: {how}"
    ages = [f"{name} {_age(table, report, root)}" for name, report in pairs if report is not None]
    return "; ".join(ages) + (f"; not kept, make them: {how}" if missing else "")


def _age(table: Table, report: Report, root: Path) -> str:
    commit = str(report["machine"].get("commit", "unknown"))
    newer = commits_since(root, commit, table.measures)
    if newer is None:
        return f"written, of commit {commit}; without its git history nobody can tell whether it is older than the code"
    if newer:
        return (
            f"written, but OLDER than the code: {newer} commits to {', '.join(table.measures)} since {commit}"
        )
    return f"written, of commit {commit}: as new as the code that it measures"


def _draw(picture: str, kept: Path, root: Path) -> str:
    try:
        drawn = draw_plot(picture, kept)
    except READ_ERRORS as error:
        raise BenchError(f"the cells of {picture} cannot be read ({brief(error)}): move them away") from error
    if drawn is None:
        return "no kept cells, left as it is; it is drawn from"
    write_atomic(root / "docs" / "images" / picture, drawn)
    return "drawn from"
