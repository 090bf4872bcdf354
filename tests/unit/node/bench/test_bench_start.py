"""The benchmark of starts: what it reckons from starts, and a real start of a verb in a process of its own."""

from __future__ import annotations

import pytest

from node.bench.kit.options import BenchError, BenchOptions
from node.bench.start import run as bench
from node.bench.start.run import Start, run


def test_a_view_is_started_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench._Bench, "first", lambda self, cases: [])
    monkeypatch.setattr(bench, "VIEWS", {"config show": ("config", "show")})
    report = run(BenchOptions(cases=("views",), repeats=1, machine={"cpu": "a", "bf16_units": "none"}), print)
    (row,) = report.rows
    assert row["start"] == "config show" and row["processor"] == "a, no bf16 units"
    assert float(str(row["cpu_s"])) > 0 and row["loads"] in ("none of the heavy ones", "numpy")
    (check,) = report.checks
    assert check.name == "start_views" and check.ours == row["cpu_s"]


def test_a_verb_that_fails_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench._Bench, "first", lambda self, cases: [])
    monkeypatch.setattr(bench, "VIEWS", {"stats": ("stats",)})  # there is no run
    with pytest.raises(BenchError, match="stats ended with 2: murmur: no run"):
        run(BenchOptions(cases=("views",), repeats=1), print)


def test_runs_count_beyond_the_imports_of_their_repeat_and_views_by_the_dearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs = {"imports": 5.0, "tiny": 6.0, "gguf": 7.0, "runs": 0.4, "tasks": 0.7}

    def named(self: bench._Bench, case: str, repeat: int, *words: str) -> list[Start]:
        return [Start(case, repeat, costs[case.partition(",")[0]] + repeat, 0.0, 100.0, ("torch",))]

    monkeypatch.setattr(bench, "resolve", lambda path: path)
    monkeypatch.setattr(bench._Bench, "_named", named)
    monkeypatch.setattr(bench, "VIEWS", {"runs": ("runs",), "tasks": ("tasks",)})
    report = run(BenchOptions(repeats=2), print)
    found = {check.name: (check.low, check.high, check.ceiling) for check in report.checks}
    assert found["start_tiny"] == (1.0, 1.0, 1.5) and found["start_gguf"] == (2.0, 2.0, 3.0)
    assert found["start_views"] == (0.7, 1.7, 0.8)
    firsts = [row for row in report.rows if row["repeat"] is None]
    assert [row["start"] for row in firsts] == ["tiny, first", "gguf, first"]
    assert all(row["beyond_imports_s"] is None for row in firsts)
