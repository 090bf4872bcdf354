"""`murmur runs`: the runs of a folder, each with its state, also those that only just start."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kept_rollouts import make_run
from typer.testing import CliRunner

from node.cli import app
from node.config.reading import load_config
from node.demo.run import claimed_for_demo
from node.storage.run_folder import RunFolder


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_runs_are_listed_with_state_and_held_out_reward(folder: RunFolder) -> None:
    make_run(Path("runs/killed-1"))
    with closing(sqlite3.connect("runs/killed-1/events.sqlite")) as db, db:
        db.execute("DELETE FROM events WHERE data LIKE '%finished%'")
    Path("runs/odd-1").mkdir()
    Path("runs/odd-1/events.sqlite").write_bytes(b"no store")
    starting = RunFolder(Path("runs/new-1"))
    starting.create(folder.read_config())
    RunFolder(Path("runs/failed-1")).create(folder.read_config())  # a start that ended before its first event
    with closing(folder.lock()), closing(starting.lock()):
        listed = json.loads(told("runs", "--json"))
    assert listed[0]["run"] == "runs/new-1"  # it has no event yet, and began last
    rows = {row["run"]: row for row in listed}
    assert rows["runs/swim-1"]["state"] == "finished" and rows["runs/killed-1"]["state"] == "ended early"
    assert rows["runs/odd-1"]["state"] == "unreadable" and rows["runs/odd-1"]["trouble"]
    assert rows["runs/new-1"]["state"] == "starting" and "runs/failed-1" not in rows
    swim = rows["runs/swim-1"]
    assert (swim["round"], swim["rounds"], swim["first_held_out"], swim["last_held_out"]) == (2, 2, 0.25, 0.5)
    assert "2 of 2" in told("runs") and "0.250 to 0.500" in told("runs") and "runs/odd-1" in told("runs")
    assert "no run under nowhere" in told("runs", "nowhere")


def test_of_a_pipe_a_run_is_a_row_however_long_its_names(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    folder.path.rename(far := Path("runs") / ("a-long-name-" * 9))
    heads, row = told("runs").splitlines()
    assert "held-out reward  last event" in heads
    assert row.startswith(f"{far}  finished  ") and "0.250 to 0.500" in row and row.rstrip().endswith(" ago")


def test_a_demo_that_makes_its_starting_weights_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with claimed_for_demo(Path("runs/demo-1"), load_config("tiny", ["seed=0"])):
        assert told("runs") == "runs/demo-1: a demo, none of whose nodes has begun so far\n"
        make_run(Path("runs/demo-1/swarm-1"))
        assert "runs/demo-1/swarm-1" in told("runs") and "none of whose nodes" not in told("runs")
