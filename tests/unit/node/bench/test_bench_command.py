"""`murmur bench`: what scripts rely on. The benchmarks themselves are stand-ins here."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from node import cli
from node.bench.kit import registry
from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.report import Check, Interrupted, Progress, Report
from node.ui import interrupts

CHECKS = [Check.of("fast", [1.0, 3.0, 2.5], paper="2", floor=2.0), Check.of("small", [math.inf], ceiling=1.0)]


def stand_in(options: BenchOptions, progress: Progress) -> Report:
    progress("measuring")
    rows = [{"case": options.model, "seconds": 1.5, "rate": math.nan}]
    return Report("engine", {"cpu": options.machine["cpu"]}, range(options.repeats or 2), rows, CHECKS)


def interrupted(options: BenchOptions, progress: Progress) -> Report:
    raise Interrupted(stand_in(options, progress))


def murmur(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, run: object = stand_in, benchmark: str = "engine"
) -> int:
    """The exit code of `murmur ARGUMENTS` in this process, with `run` in place of the benchmark's own."""
    monkeypatch.setitem(sys.modules, registry.BENCHMARKS[benchmark], SimpleNamespace(run=run))
    monkeypatch.setattr(sys, "argv", ["murmur", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_json_is_one_line_with_open_bands_as_null(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert murmur(monkeypatch, "bench", "engine", "--json", "--model", "m", "--seeds", "3") == 0
    told = capsys.readouterr()
    assert told.err == "measuring\n"
    assert told.out.count("\n") == 1
    report = json.loads(told.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(report) == ["name", "machine", "seeds", "rows", "checks", "complete"]
    assert report["name"] == "engine" and report["seeds"] == [0, 1, 2] and report["machine"]["cpu"]
    assert report["rows"] == [{"case": "m", "seconds": 1.5, "rate": None}]
    assert report["checks"] == [
        {
            "name": "fast",
            "paper": "2",
            "ours": 2.5,
            "low": 1.0,
            "high": 3.0,
            "band": [2.0, None],
            "holds": True,
        },
        {
            "name": "small",
            "paper": "-",
            "ours": None,
            "low": None,
            "high": None,
            "band": [None, 1.0],
            "holds": False,
        },
    ]


def test_a_person_sees_rows_bands_and_what_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert murmur(monkeypatch, "bench", "engine", "--model", "x" * 150) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["x" * 150, "1.5", "nan"] for line in lines)
    assert any(line.split() == ["fast", "2.5", "1", "3", ">=", "2", "2", "yes"] for line in lines)
    assert any(line.split() == ["small", "inf", "inf", "inf", "<=", "1", "-", "no"] for line in lines)


def test_ctrl_c_reports_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert murmur(monkeypatch, "bench", "engine", "--json", run=interrupted) == 130
    assert json.loads(capsys.readouterr().out)["rows"][0]["seconds"] == 1.5


@pytest.mark.usefixtures("signals_heard")
@pytest.mark.parametrize("number", interrupts.ASKING)
def test_a_signal_ends_a_benchmark_with_what_it_has(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(options: BenchOptions, progress: Progress) -> Report:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise Interrupted(stand_in(options, progress)) from None
        pytest.fail("the signal did not come through")

    assert murmur(monkeypatch, "bench", "engine", "--json", run=ended) == 128 + number
    assert json.loads(capsys.readouterr().out)["rows"][0]["seconds"] == 1.5


def test_sigterm_to_a_real_benchmark_leaves_the_seeds_that_are_complete() -> None:
    command = [sys.executable, "-m", "node.cli", "bench", "dars", "--seeds", "100000", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr and process.stdout
        next(line for line in process.stderr if line.startswith("bandit, seed 1 "))
        process.terminate()
        report = json.loads(process.stdout.read())
    assert process.returncode == 143
    assert report["seeds"][0] == 0 and report["rows"] and report["checks"]


def test_a_signal_before_anything_is_measured_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(options: BenchOptions, progress: Progress) -> Report:
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the signal did not come through")

    assert murmur(monkeypatch, "bench", "engine", run=ended) == 143
    assert capsys.readouterr().err == "murmur: stopped by SIGTERM\n"


def test_unknown_names_exit_2_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert murmur(monkeypatch, "bench", "engin") == 2
    assert "did you mean 'engine'?" in capsys.readouterr().err
    with pytest.raises(BenchError, match="did you mean 'engine'"):
        registry.run_benchmark("engin", BenchOptions(), lambda line: None)


def test_an_option_that_a_benchmark_cannot_follow_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert murmur(monkeypatch, "bench", "dars", "--model", "m", benchmark="dars") == 2
    assert "--model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "own"),
    {
        "april": "model seeds",
        "branch": "case seeds rounds plot",
        "brorl": "model seeds",
        "dars": "seeds",
        "engine": "model case dtype seeds",
        "families": "family seeds page",
        "faults": "case",
        "gossip": "case seeds",
        "round": "model rounds seeds",
        "sapo": "case seeds nodes splits rounds policy population first-seed rates plot dir",
        "step": "model case seeds",
        "store": "rounds",
        "strategies": "case seeds",
    }.items(),
)
def test_the_help_of_an_experiment_lists_its_own_options(
    name: str, own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert murmur(monkeypatch, "bench", name, "--help") == 0
    listed = re.findall(r"^  --([\w-]+)", capsys.readouterr().out, re.MULTILINE)
    assert listed == [*own.split(), "json", "help"]


def test_engine_refuses_unknown_cases_and_types_before_it_measures() -> None:
    said: list[str] = []
    for options in (BenchOptions(cases=("longtail_apr",)), BenchOptions(dtypes=("bf16",))):
        with pytest.raises(BenchError):
            registry.run_benchmark("engine", options, said.append)
    assert said == []


def test_the_help_names_every_benchmark_in_a_whole_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert murmur(monkeypatch, "bench", "--help") == 0
    listed = re.findall(r"^  ([a-z]+)  +(\S.*)$", capsys.readouterr().out, re.MULTILINE)
    assert {name for name, _ in listed} >= set(registry.BENCHMARKS)
    assert [line for _, line in listed if line.endswith("...")] == []
