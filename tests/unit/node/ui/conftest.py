"""A small run under runs/ for the views that look into one."""

from __future__ import annotations

from pathlib import Path

import pytest
from kept_rollouts import make_run

from node.storage.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    return make_run(Path("runs/swim-1"))
