"""The page's benchmark, small: every screen is asked for, and answers."""

from __future__ import annotations

from node.bench.kit.options import BenchOptions
from node.bench.store.page import run


def test_a_small_run_measures_every_screen() -> None:
    said: list[str] = []
    report = run(BenchOptions(rounds=8), said.append)
    assert report.rows[0]["rounds"] == 8 and len(said) == 2
    names = [check.name for check in report.checks]
    assert names[:3] == ["ms of CPU a round", "the page's first look, s", "the page's first look, CPU s"]
    assert len(names) == 8 and all(check.ours > 0 for check in report.checks)
