"""What a run with a silo baseline says at its end: the wait first, then the comparison, and what to do next last."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.baseline import silo_baseline
from node.config.reading import load_config
from node.storage.run_folder import RunFolder
from node.ui.run_view import RunView


@pytest.mark.parametrize("ends", [True, False])
def test_the_comparison_stands_below_the_table_and_next_steps_come_last(
    ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class View(RunView):
        def say(self, line: str) -> None:
            told.append(line)

        def __exit__(self, *_: Any) -> None:
            told.append("table")

    config = load_config("tiny", ["rounds=3"])
    fakes = {
        "run_session": lambda *_, then_baseline, **__: (
            told.append(f"played {then_baseline}") or SimpleNamespace(round=3)
        ),
        "start_baseline": lambda *_: None,
        "even_out": lambda *_: None,
        "_wait": lambda *_: ends,
        "_tell": lambda *_: told.append("comparison"),
        "tell_next_steps": lambda *_: told.append("next"),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(silo_baseline, name, fake)
    monkeypatch.setattr(View, "__enter__", lambda self: self)
    silo_baseline.run_with_baseline(config, RunFolder(tmp_path), View("plain", "run"), resumed=False)
    assert told[0] == "played True" and told[1].startswith("now its silo baseline")
    assert told[2:] == (["table", "comparison", "next"] if ends else ["table", "next"])
