"""What a benchmark says of the machine it ran on."""

from __future__ import annotations

import mmap

import pytest
import torch

from node.bench.kit import machine
from node.bench.kit.peak_memory import PeakMemory

CPU = torch.device("cpu")


def test_limits_are_measured_in_bytes_and_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that gives every repeat a quarter of a second, the rates are exact."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(ticks) / 4)
    monkeypatch.setattr(machine, "READ_BYTES", {"cpu": 4096})
    monkeypatch.setattr(machine, "MATMUL_SIDE", {"cpu": 8})
    limits = machine.measure_limits(CPU)
    assert limits.read_gb_s == 4096 * 4 / 1e9
    assert limits.matmul_gflop_s == {"float32": 2 * 8**3 * 4 / 1e9, "bfloat16": 2 * 8**3 * 4 / 1e9}


def test_facts_name_processor_and_threads() -> None:
    facts = machine.machine_facts(CPU)
    assert facts["device"] == "cpu" and facts["cpu"] and facts["threads"] == torch.get_num_threads()
    assert "gpu" not in facts


def test_peak_memory_sees_what_was_freed_again() -> None:
    """The pages are mapped here: an allocator may hand out memory that an earlier test gave back, and none is new."""
    size = 64 * 2**20
    with PeakMemory(CPU) as memory, mmap.mmap(-1, size) as held:
        held.write(b"1" * size)
        ended = memory._done.wait(0.1)
    assert not ended
    assert memory.peak >= 0.9 * size
