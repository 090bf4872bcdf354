"""`make results`: tables and plots of docs/results.md from kept cells, with their age in commits."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.bench.arena.cell import ArenaCell
from node.bench.arena.plan import ArenaPlan
from node.bench.arena.report import Arena
from node.bench.arena.report import rows as arena_rows
from node.bench.branch.arms import Point
from node.bench.branch.run import _row as branch_row
from node.bench.gossip.process import Measurement
from node.bench.gossip.report import rows_of as gossip_rows
from node.bench.gossip.swarm_plan import OURS, REFERENCE, SwarmPlan, SwarmRound
from node.bench.kit.machine import code_commit
from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.report import Check, Report
from node.bench.kit.trained_node import HeldOutScore
from node.bench.results.page import regenerate, replace_table
from node.bench.results.table import Column, Table, source_of
from node.bench.results.tables import TABLES
from node.bench.round.run import Played
from node.bench.round.run import _row as round_row
from node.bench.sapo.arms import SPLITS, arms_of
from node.bench.sapo.cell import Cell, NodeCourse
from node.bench.sapo.compare import comparison_rows
from node.bench.sapo.population import LEARNING_RATE, PopulationPlan
from node.bench.sapo.rates import CHOICE_SEED, choice_rows
from node.bench.sapo.report import rows as sapo_rows
from node.bench.start.run import Start
from node.bench.start.run import _report as start_report
from node.bench.step.cases import CASES
from node.bench.step.run import _row as step_row
from node.bench.strategies import compare

ROOT = Path(__file__).parents[4]
BY_NAME = {table.name: table for table in TABLES}


def cell(arm: str, *rewards: float) -> Cell:
    by_task = dict.fromkeys(("sort@3", "reverse@3", "maximum@3", "shift@3", "add@3", "binary@3"), 0.3)
    course = NodeCourse(HeldOutScore(0.3, 0.5, by_task), list(rewards), list(rewards), [1.0, 2.0], [10, 10])
    return Cell(arm, 0, PopulationPlan(1, 2, "embedded"), [course])


def measured(side: str) -> Measurement:
    received = {"announce": 0, "read": 0, "fetch": 8 * 400_000}
    rounds = [
        SwarmRound(2.0, received, (4,) * 8, failures=0),
        SwarmRound(2.0, {"fetch": 8 * 500_000}, (4,) * 8, 0),
    ]
    return Measurement(SwarmPlan("n8", side, 8, 100_000, 0, rounds=2), rounds, True)


def arena_cell(attack: str) -> ArenaCell:
    figures = {
        "reward": 0.6,
        "marked": 0.7,
        "length": 9.0,
        "taken": 0.3,
        "external": 4.0,
        "bytes": 5000.0,
        "cpu": 2.0,
    }
    return ArenaCell(
        attack, "undefended", 0, ArenaPlan(4, 2, 0.25), **figures, flagged=0.0, blamed=0.0, last=None
    )


def rows_of(name: str) -> list[Any]:
    """Rows as the benchmark itself makes them."""
    score = HeldOutScore(0.2, 0.5)
    points = [Point(n, 0.5 + n / 10, 0.6, 1.0, 2.0, 100, 50) for n in range(3)]
    made: dict[str, Any] = {
        "sapo": lambda: [
            *sapo_rows(cells := [cell("8/0", 0.1, 0.2), cell("4/4", 0.2, 0.4)], arms_of(SPLITS)),
            *comparison_rows(cells, arms_of(SPLITS), "8/0"),
            *choice_rows(arms_of(SPLITS)[:1], [LEARNING_RATE], {"8/0": cells[0]}),
        ],
        "arena": lambda: arena_rows(Arena([arena_cell("nobody"), arena_cell("text_injection")])),
        "strategies": lambda: compare.rows(
            [compare.StrategyCourse("grpo", score, score, score, 5, 6, 0.5, 0, 0)]
        ),
        "branch": lambda: [branch_row(seed, "branch", point) for seed in (0, 1) for point in points],
        "gossip": lambda: gossip_rows([measured(OURS), measured(REFERENCE)]),
        "round": lambda: [round_row(Played("shared", 0, ROUNDS), "AMD EPYC")],
        "start": lambda: start_report(BenchOptions(), [0], STARTS).rows,
        "step": lambda: [step_row(CASES[0], 0, {"ours": 2.0, "trl": 5.0}, {"ours": 1.0, "trl": 1.0})],
    }
    return list(made[name]())


ROUNDS = {
    "start": 9.0,
    "rounds": [5.0, 4.0],
    "phases": [dict.fromkeys(("sampling", "scoring", "exchange", "update"), 1.0)] * 2,
    "update_peaks": [1, 1],
    "save": 0.1,
    "peak": 2,
}
STARTS = [
    Start(name, repeat, 5.0, 0.0, 500.0, ()) for repeat in (0, 1) for name in ("imports", "tiny", "doctor")
]


def report(name: str, commit: str = "unknown") -> dict[str, Any]:
    return {"name": name, "machine": {"commit": commit}, "seeds": [0], "rows": rows_of(name), "checks": []}


def checkout(root: Path, **reports: dict[str, Any]) -> Path:
    """A root with today's page and these kept reports."""
    (root / "docs" / "images").mkdir(parents=True)
    (root / "results").mkdir()
    shutil.copy(ROOT / "docs" / "results.md", root / "docs" / "results.md")
    for name, kept in reports.items():
        (root / "results" / f"{name}.json").write_text(json.dumps(kept))
    return root


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    done = subprocess.run(["git", *identity, *words], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_page_has_marks_for_every_table_and_without_cells_stays_as_it_is(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    said = regenerate(root)
    assert (root / "docs/results.md").read_bytes() == (ROOT / "docs/results.md").read_bytes()
    assert not list((root / "docs/images").iterdir())
    for table in TABLES:
        (line,) = [line for line in said if line.startswith(f"table {table.name}: no kept cells")]
        assert all(f"murmur bench {options} --json > results/" in line for options in table.commands.values())
    assert sum("plot" in line for line in said) == 4


@pytest.mark.parametrize(
    ("name", "benchmark"),
    [("sapo-alike", "sapo"), ("sapo-alike-pairs", "sapo"), ("sapo-specialists-tasks", "sapo")]
    + [
        ("sapo-long", "sapo"),
        ("sapo-long-pairs", "sapo"),
        ("sapo-specialists-rates", "sapo"),
        ("arena", "arena"),
    ]
    + [(name, name) for name in ("strategies", "branch", "gossip", "step", "round", "start")],
)
def test_a_table_has_every_column_of_what_its_benchmark_reports(name: str, benchmark: str) -> None:
    lines = BY_NAME[name].render([report(benchmark)]).splitlines()
    assert len({line.count("|") for line in lines}) == 1 and len(lines) >= 3
    filled = [
        any(cell.strip() for cell in column)
        for column in zip(*(x.split("|")[1:-1] for x in lines[2:]), strict=True)
    ]
    assert all(filled)


def test_kept_cells_are_written_between_their_marks_and_nowhere_else(tmp_path: Path) -> None:
    root = checkout(tmp_path, **{"gossip-n8": report("gossip"), "branch": report("branch")})
    before = (root / "docs/results.md").read_text()
    said = regenerate(root)
    after = (root / "docs/results.md").read_text()
    assert "| n8 | 8 | ours | 0.45 (0.40-0.50) | 1.00 |" in after
    assert "| branch | 0.700 | 0.60 | 250 | 1.0 | 2.0 |" in after  # of the last iteration
    assert before.split("<!-- table gossip -->")[0].split("<!-- table engine -->")[0].startswith("# Results")
    assert (
        replace_table(after, "gossip", "x").split("x")[-1]
        == replace_table(before, "gossip", "x").split("x")[-1]
    )
    assert (root / "docs/images/branch.svg").read_text().startswith("<svg")
    (line,) = [line for line in said if line.startswith("table gossip: gossip-n8 written")]
    assert "nobody can tell" in line
    assert "not kept, make them: murmur bench gossip --case n4 --json > results/gossip-n4.json" in line
    assert "`murmur bench gossip --case n8`, undated, commit unknown." in after
    regenerate(root)
    assert (root / "docs/results.md").read_text() == after


@pytest.mark.parametrize("change", [{"complete": False}, {"rows": []}])
def test_a_benchmark_that_was_broken_off_is_no_cell(tmp_path: Path, change: dict[str, Any]) -> None:
    root = checkout(tmp_path, **{"gossip-n8": {**report("gossip"), **change}})
    with pytest.raises(BenchError, match=r"gossip-n8\.json was broken off before all was measured"):
        regenerate(root)
    assert (root / "docs/results.md").read_bytes() == (ROOT / "docs/results.md").read_bytes()


def test_cells_older_than_the_code_that_they_measure_are_named(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    git(root, "init", "-q")
    for name in ("swarm", "policies/text", "node/bench/step"):
        (root / name).mkdir(parents=True)
        (root / name / "a.py").write_text("1")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    first = git(root, "rev-parse", "--short", "HEAD")
    for name, case in (("gossip", "n8"), ("step", "prompt57")):
        (root / "results" / f"{name}-{case}.json").write_text(json.dumps(report(name, first)))
    (root / "swarm" / "a.py").write_text("2")
    git(root, "commit", "-qam", "two")
    said = regenerate(root)
    older = "table gossip: gossip-n8 written, but OLDER than the code: 1 commits to swarm"
    assert any(line.startswith(older) for line in said)
    fresh = f"table step: step-prompt57 written, of commit {first}: as new as the code that it measures"
    assert any(line.startswith(fresh) for line in said)


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    for text in ("{", "[]", '{"rows": [1], "machine": {}}'):
        (root / "results" / "gossip-n4.json").write_text(text)
        with pytest.raises(BenchError, match=r"gossip-n4\.json is no report"):
            regenerate(root)
    with pytest.raises(BenchError, match="no marks for its table 'x'"):
        replace_table("text", "x", None)


def test_cells_that_a_learning_rate_was_chosen_by_are_not_drawn(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    folder = root / "results" / "sapo-alike"
    folder.mkdir()
    chosen = cell("8/0 at 0.0006", 0.1, 0.2)
    (folder / "8-0-0.json").write_text(json.dumps(chosen.as_json()))
    regenerate(root)
    picture = (root / "docs/images/sapo-alike.svg").read_text()
    assert "8/0" in picture and "0.0006" not in picture
    tried = replace(cell("8/0", 0.9, 0.9), seed=CHOICE_SEED)
    (folder / "8-0-10000.json").write_text(json.dumps(tried.as_json()))
    regenerate(root)
    assert (root / "docs/images/sapo-alike.svg").read_text() == picture


def test_cells_of_a_plot_are_drawn_or_refused(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    (root / "results" / "sapo-alike").mkdir()
    file = root / "results" / "sapo-alike" / "8-0-0.json"
    file.write_text(json.dumps(cell("8/0", 0.1, 0.2).as_json()))
    regenerate(root)
    assert (root / "docs/images/sapo-alike.svg").read_text().startswith("<svg")
    file.write_text("{}")
    with pytest.raises(BenchError, match=r"sapo-alike\.svg cannot be read"):
        regenerate(root)


@pytest.mark.parametrize(
    ("column", "rows", "shown"),
    [
        (Column("t", "x"), [{"x": 1.0}, {"x": 2.0}, {"x": 4.0}], "2.00 (1.00-4.00)"),
        (Column("t", "x", 1), [{"x": 2.0, "x_low": 1.0, "x_high": 3.0}], "2.0 (1.0-3.0)"),
        (Column("t", "x", percent=True), [{"x": 0.21, "x_low": -0.1, "x_high": 0.3}], "+21 % (-10 to +30)"),
        (Column("t", "x", percent=True), [{"x": 0.5}], "+50 %"),
        (Column("t", "x", 0), [{"x": 12345}], "12,345"),
        (Column("t", "x"), [{"x": None}, {}], ""),
        (Column("t", "x", signed=True), [{"x": 0.1, "x_low": -0.1, "x_high": 0.3}], "+0.10 (-0.10 to +0.30)"),
        (Column("t", "x", signed=True), [{"x": 0.1, "x_low": None, "x_high": None}], "+0.10"),
    ],
)
def test_a_cell_holds_the_median_and_its_range(
    column: Column, rows: list[dict[str, Any]], shown: str
) -> None:
    assert column.cell(rows) == shown


def test_a_table_of_several_reports_tells_them_apart_by_the_machine_s_facts() -> None:
    table = Table("t", {"a": "", "b": ""}, (), ("rounds", "arm"), (Column("r", "r", 0),))
    rows = {n: [{"arm": "8/0", "r": n}, {"other": 1}] for n in (200, 400)}
    reports = [{"machine": {"rounds": n}, "rows": of_n, "checks": []} for n, of_n in rows.items()]
    assert table.render(reports).splitlines()[2:] == ["| 200 | 8/0 | 200 |", "| 400 | 8/0 | 400 |"]


def test_a_table_of_checks_says_what_is_missed_and_nothing_where_there_is_no_bar() -> None:
    checks = [
        Check.of("fast", [1.0, 2.0, 3.0], paper="2.22", floor=2.5),
        Check.of("small", [1.0], ceiling=2),
        Check.of("ours", [5.0]),
    ]
    made = Report("branch", {}, [0], [{"arm": "sequential"}], checks).as_json()
    assert BY_NAME["papers"].render([made]).splitlines()[2:] == [
        "| fast | 2.22 | 2.00 (1.00-3.00) | at least 2.5 | no |",
        "| small | - | 1.00 | at most 2 | yes |",
        "| ours | - | 5.00 |  |  |",
    ]


def test_a_table_says_what_made_it() -> None:
    facts = {"commit": "abc", "date": "2026-11-27", "cores": 2, "cpu": "AMD EPYC", "load": 7}
    assert source_of("step", {"machine": facts, "rows": []}) == (
        "`murmur bench step`, 2026-11-27, commit abc, 2 cores of AMD EPYC, a load of 7 as it began."
    )


def test_a_report_says_which_commit_it_is_of() -> None:
    known = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    expected = known.stdout.strip() if known.returncode == 0 else "unknown"
    assert code_commit().removesuffix("-changed") == expected


def test_the_page_names_the_command_of_every_cell() -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    commands = {name: options for table in TABLES for name, options in table.commands.items()}
    written = {
        name: f"`murmur bench {options} --json > results/{name}.json`" for name, options in commands.items()
    }
    one_case = {name: options.split() for name, options in commands.items() if " --case " in options}
    cases = {name: words[-1] for name, words in one_case.items() if words[-2] == "--case"}
    written |= {name: written[name].replace(case, "CASE") for name, case in cases.items()}
    missing = [name for name, line in written.items() if line not in page]
    missing += [case for case in cases.values() if case not in page]
    assert commands and missing == []
