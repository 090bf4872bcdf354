"""What the verbs that look into runs say round their tables: which run it is, and how much of it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from kept_rollouts import make_run
from typer.testing import CliRunner

from node.cli import app
from node.storage.run_folder import RunFolder

run = CliRunner().invoke


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    return make_run(Path("runs/swim-1"))


@pytest.mark.parametrize(
    ("limit", "words"), [("9", "4 that fit, all shown."), ("3", "3 of 4 that fit; --limit N shows more.")]
)
def test_groups_are_shown_under_the_run_with_how_many_there_are(
    folder: RunFolder, limit: str, words: str
) -> None:
    shown = run(app, ["rollouts", "--round", "1", "--show", "--limit", limit]).stdout.splitlines()
    assert (shown[0], shown[-1]) == ("runs/swim-1", words)
