"""`murmur bench memory` without its measured cases, which take a minute each of a quiet machine."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from node.bench.kit.options import BenchError, BenchOptions
from node.bench.memory.run import checks_of, run
from node.bench.memory.seven_billion import CASE, PARTS


def test_a_7b_model_in_four_bits_is_planned_by_part() -> None:
    (row,) = run(BenchOptions(cases=(CASE,), machine={"device": "cpu"}), lambda _: None).rows
    sizes = {name: float(str(row[f"{name}_gb"])) for name in PARTS}
    assert row["fits"] and all(size > 0 for size in sizes.values())
    stays = sizes["weights"] + sizes["optimiser"] + sizes["overhead"]
    halves = (
        sizes["gradients"] + sizes["activations"] + sizes["update_logits"],
        sizes["keys_and_values"] + sizes["sampling_logits"],
    )
    assert row["peak_gb"] == pytest.approx(stays + max(halves))
    assert 5.5 < sizes["weights"] < 6.0 and checks_of([row]) == []


def test_a_machine_that_is_too_busy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("work", 1200)

    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(BenchError, match="try again later"):
        run(BenchOptions(cases=("Llama full",), machine={"device": "cpu"}), lambda _: None)
