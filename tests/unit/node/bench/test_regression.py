"""`murmur bench compare`: a baseline's plan is run again, and what moved beyond its tolerance is said."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node import cli
from node.bench.kit import registry
from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.report import Interrupted, Progress, Report
from node.bench.regression.baseline import SHIPPED, Baseline, find_baseline, read_baseline
from node.bench.regression.compare import compare_with
from node.ui import interrupts

PLAN: dict[str, Any] = {
    "benchmark": "dars",
    "options": {"repeats": 1},
    "figures": {
        "GRPO": {
            "column": "pass@128",
            "where": {"comparison": "equal_steps", "strategy": "GRPO-8"},
            "tolerance": 0.01,
        },
    },
}
SPEED: dict[str, Any] = {
    "benchmark": "dars",
    "options": {},
    "runs": 3,
    "figures": {
        "seconds": {
            "column": "s", "where": {"case": "a"}, "tolerance": 0.2, "better": "lower", "machine_bound": True,
        },
        "ratio": {"column": "ratio", "where": {"case": "a"}, "tolerance": 0.1, "better": "higher"},
    },
}  # fmt: skip


def report(seconds: float, ratio: float, cpu: str = "x") -> Report:
    rows = [{"case": "b", "s": 99.0, "ratio": 9.0}, {"case": "a", "s": seconds, "ratio": ratio}]
    return Report("dars", {"cpu": cpu, "device": "cpu", "cores": 2}, [0], rows, [])


def kept(*reports: Report) -> Baseline:
    return Baseline.model_validate(SPEED).measured_from(reports)


def write(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data))
    return path


def murmur(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["murmur", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def stand_in(monkeypatch: pytest.MonkeyPatch, run: Callable[[BenchOptions, Progress], Report]) -> None:
    monkeypatch.setitem(sys.modules, registry.BENCHMARKS["dars"], SimpleNamespace(run=run))


def test_a_real_plan_is_measured_kept_and_held_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "dars.json", PLAN)
    assert murmur(monkeypatch, "bench", "compare", str(path)) == 2
    assert "add --update" in capsys.readouterr().err
    assert murmur(monkeypatch, "bench", "compare", str(path), "--update") == 0
    baseline = read_baseline(path)
    assert baseline.measured and baseline.measured.machine["cpu"] and baseline.measured.machine["torch"]
    capsys.readouterr()

    assert murmur(monkeypatch, "bench", "compare", str(path), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["moved"] == [] and told["figures"][0]["change"] == 0.0 and told["same_machine"]

    data = json.loads(path.read_text())
    data["measured"]["values"]["GRPO"] = [1.1 * value for value in data["measured"]["values"]["GRPO"]]
    assert murmur(monkeypatch, "bench", "compare", str(write(path, data))) == 1
    assert "moved beyond its tolerance: GRPO (moved)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("now", "findings"),
    [
        ((report(1.1, 2.05),), ["same", "same"]),
        ((report(1.3, 2.0),), ["worse", "same"]),
        ((report(0.7, 2.0),), ["better", "same"]),
        ((report(1.0, 1.7),), ["same", "worse"]),
        ((report(1.0, 2.3),), ["same", "better"]),
        ((report(9.0, 2.0), report(1.0, 2.0), report(1.0, 0.1)), ["same", "same"]),  # medians
        ((report(5.0, 1.7, cpu="y"),), ["other machine", "worse"]),
    ],
)
def test_a_figure_moves_beyond_its_tolerance_only(now: Sequence[Report], findings: list[str]) -> None:
    found = compare_with(kept(report(1.0, 2.0), report(1.1, 2.0), report(0.9, 2.0)), now)
    assert [comparison.finding for comparison in found.comparisons] == findings
    assert [c.name for c in found.moved] == [
        c.name for c in found.comparisons if c.finding in ("better", "worse", "moved")
    ]


def test_from_nothing_to_something_is_a_move() -> None:
    (_, ratio) = compare_with(kept(report(1.0, 0.0)), [report(1.0, 0.5)]).comparisons
    assert ratio.finding == "better"
    assert compare_with(kept(report(1.0, 0.0)), [report(1.0, 0.0)]).moved == []
    json.dumps(compare_with(kept(report(1.0, 0.0)), [report(1.0, 0.5)]).as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({**PLAN, "figures": {}}, "figures"),
        ({**PLAN, "benchmark": "drs"}, "no benchmark 'drs'"),
        ({**PLAN, "options": {"seeds": 2}}, "options.seeds"),
        ({**PLAN, "figures": {"x": {"column": "c", "where": {}, "tolerance": 0}}}, "tolerance"),
        ([], "the file"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused(
    data: object,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path / "b.json", data)
    assert murmur(monkeypatch, "bench", "compare", str(path)) == 2
    words = capsys.readouterr().err
    assert message in words and str(path) in words


def test_an_unknown_baseline_is_refused_with_those_that_are_shipped() -> None:
    with pytest.raises(BenchError, match="engine, gossip, step"):
        find_baseline("gosip")


def test_a_report_without_the_figure_is_refused() -> None:
    with pytest.raises(BenchError, match="no figure 's' where"):
        kept(Report("dars", {}, [0], [{"case": "b", "s": 1.0, "ratio": 1.0}], []))


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_what_is_shipped_was_measured_and_says_where(path: Path) -> None:
    baseline = read_baseline(path)
    assert baseline.measured and baseline.measured.values.keys() == baseline.figures.keys()
    assert {"cpu", "cores", "memory_gib", "torch"} <= baseline.measured.machine.keys()
    assert all(len(values) == baseline.runs for values in baseline.measured.values.values())


@pytest.mark.usefixtures("signals_heard")
@pytest.mark.parametrize("number", interrupts.ASKING)
def test_a_signal_compares_the_runs_that_are_complete_and_updates_nothing(
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = 0

    def second_is_interrupted(options: BenchOptions, progress: Progress) -> Report:
        nonlocal runs
        runs += 1
        if runs == 2:
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt:
                raise Interrupted(report(7.0, 7.0)) from None
        return report(1.0, 2.0)

    stand_in(monkeypatch, second_is_interrupted)
    path = tmp_path / "b.json"
    path.write_text(kept(report(1.0, 2.0)).model_dump_json())
    before = path.read_text()
    assert murmur(monkeypatch, "bench", "compare", str(path), "--json", "--update") == 128 + number
    told = json.loads(capsys.readouterr().out)
    assert told["runs"] == 1 and told["moved"] == []
    assert path.read_text() == before
