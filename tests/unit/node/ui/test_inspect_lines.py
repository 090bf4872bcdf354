"""What the verbs that look into runs say beside their tables: which run it is, how much is shown, and waits."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.storage.run_folder import RunFolder
from node.ui.patience import Patience

run = CliRunner().invoke


@pytest.mark.parametrize(
    ("limit", "words"), [("9", "4 that fit, all shown."), ("3", "3 of 4 that fit; --limit N shows more.")]
)
def test_groups_are_shown_under_the_run_with_how_many_there_are(
    folder: RunFolder, limit: str, words: str
) -> None:
    shown = run(app, ["rollouts", "--round", "1", "--show", "--limit", limit]).stdout.splitlines()
    assert (shown[0], shown[-1]) == ("runs/swim-1", words)


@pytest.mark.parametrize(
    "verb", ["rollouts", "rollouts --show", "stats", "runs", "peers", "replay runs/swim-1 1"]
)
def test_a_view_that_takes_long_says_so_beside_what_it_shows(
    folder: RunFolder, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = sqlite3.connect

    def slow(*words: Any, **options: Any) -> sqlite3.Connection:
        time.sleep(0.05)
        return opened(*words, **options)

    monkeypatch.setattr(sqlite3, "connect", slow)
    monkeypatch.setattr(Patience.__init__, "__defaults__", (0.01,))  # seconds of the first silence
    shown = run(app, verb.split())
    assert shown.exit_code == 0 and "still reading the run, " in shown.stderr and "still" not in shown.stdout
