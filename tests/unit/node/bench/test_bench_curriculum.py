"""The benchmark of the adaptive draw: its arms with a small model, what it calls leaving zero, and kept cells."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from trained_run import tiny_llama

from node.bench.curriculum import cases, run
from node.bench.curriculum.cases import ARMS, Plan, config_of
from node.bench.curriculum.cell import Cell, Look
from node.bench.kit.options import BenchError, BenchOptions

pytest.importorskip("reasoning_gym")


def test_arms_differ_in_what_is_drawn_alone() -> None:
    adaptive, uniform, alone = (config_of("products", arm, 3, Plan(4, 2, 5, "")) for arm in ARMS)
    assert adaptive.sampler.problems == "adaptive" and uniform.sampler.problems == "uniform"
    assert adaptive.tasks == uniform.tasks and alone.tasks == adaptive.tasks[-1:]
    assert adaptive.model_copy(update={"sampler": uniform.sampler}) == uniform


def test_zero_is_left_at_the_first_look_that_finds_enough_right() -> None:
    looks = [Look(0, 0.0), Look(96, 0.05), Look(192, 0.1), Look(288, 0.0)]
    cell = Cell("products", "adaptive", 0, Plan(4, 2, 5, ""), looks, [1], [0.0], 1.0)
    assert run.left_zero_after(cell) == 192
    assert run.left_zero_after(replace(cell, looks=looks[:2])) == math.inf


def test_a_run_keeps_its_cells_and_compares_the_arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama(tmp_path / "model")
    for name, less in (("LOCAL", 1), ("ROLLOUTS", 2)):
        monkeypatch.setattr(cases, name, less)
    monkeypatch.setattr(run, "JUDGED", 2)
    options = BenchOptions(cases=("chain_sum",), model=str(model), rounds=2, folder=tmp_path / "cells")
    lines: list[str] = []
    report = run.run(options, lines.append)
    assert [row["drawn"] for row in report.rows] == ["adaptive", "uniform", "alone"]
    assert all(row["rollouts"] == 4 and row["left_zero_after"] == math.inf for row in report.rows)
    assert [check.name for check in report.checks] == [
        "chain_sum: adaptive less uniform",
        "chain_sum: adaptive less alone",
    ]
    again = run.run(options, pytest.fail)
    assert again.rows == report.rows
    with pytest.raises(BenchError, match="choose another --dir"):
        run.run(replace(options, rounds=3), lines.append)
    with pytest.raises(BenchError, match="did you mean 'products'"):
        run.run(BenchOptions(cases=("product",)), pytest.fail)
