"""The store's benchmark, small: every figure is there, and the store that is too small has dropped something."""

from __future__ import annotations

import pytest

from node.bench.kit.options import BenchOptions
from node.bench.store import run as bench
from node.bench.store.run import run


def test_a_small_run_measures_writing_and_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "TIGHT", 60_000)
    said: list[str] = []
    report = run(BenchOptions(rounds=6), said.append)
    whole, tight = report.rows
    assert whole["kept"] == 6 * 64 and whole["dropped"] == 0 and len(said) == 2
    assert (
        int(str(tight["kept"])) + int(str(tight["dropped"])) == 6 * 64
        and 0 < int(str(tight["dropped"])) < 6 * 64
    )
    names = [check.name for check in report.checks]
    assert names[:2] == ["whole: ms of CPU a round", "tight: ms of CPU a round"] and len(names) == 8
    assert all(check.ours > 0 for check in report.checks) and report.checks[-1].holds
