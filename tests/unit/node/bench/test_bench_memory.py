"""`murmur bench memory` without its measured cases, which take 21 CPU seconds each."""

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
    stays = sizes["weights"] + sizes["optimiser"] + sizes["driver"]
    halves = (
        sizes["gradients"] + sizes["activations"] + sizes["update_logits"],
        sizes["keys_and_values"] + sizes["sampling_logits"],
    )
    assert row["peak_gb"] == pytest.approx(stays + max(halves))
    assert 5.5 < sizes["weights"] < 6.0 and checks_of([row]) == []


def test_what_ended_a_case_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "Traceback\nRuntimeError: not enough memory\n")

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(BenchError, match="Llama full: RuntimeError: not enough memory"):
        run(BenchOptions(cases=("Llama full",), machine={"device": "cpu"}), lambda _: None)
