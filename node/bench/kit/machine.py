"""The machine that a benchmark ran on: plain facts, and limits that are measured just before it.

A figure without its machine says little; a figure beside the machine's limits says how much is left to win.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import torch

from policies.hardware import usable_cores

GIB = 2**30
GIGA = 1e9
MEASURE_SECONDS = 1.0  # a limit; the fastest repeat counts
READ_BYTES = {"cpu": GIB // 2, "cuda": 4 * GIB}  # far beyond the caches
MATMUL_SIDE = {"cpu": 2048, "cuda": 8192}
_ROOT = Path(__file__).parents[3]
BF16_SETS = ("avx512_bf16", "amx_bf16")  # without one of them a CPU emulates bf16 products


@dataclass(frozen=True, slots=True)
class Limits:
    """The fastest that this machine was seen to read memory and to multiply matrices."""

    read_gb_s: float
    matmul_gflop_s: dict[str, float]  # by arithmetic: float32, bfloat16

    def facts(self) -> dict[str, float]:
        products = {f"matmul_{name}_gflop_s": rate for name, rate in self.matmul_gflop_s.items()}
        return {"read_gb_s": self.read_gb_s} | products


def best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def machine_facts(device: torch.device) -> dict[str, str | int]:
    """Processor, cores, instruction sets for bf16, memory, torch and, if it is used, the GPU."""
    information = _processor_information()
    flags = information.get("flags", "").split()
    facts: dict[str, str | int] = {
        "device": device.type,
        "cpu": information.get("model name") or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "bf16_units": " ".join(name for name in BF16_SETS if name in flags) or "none",
        "memory_gib": round(psutil.virtual_memory().total / GIB),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def processor_kind(machine: Mapping[str, str | int]) -> str:
    """A row's words for where it was measured: whether a CPU has bf16 units decides between arithmetics."""
    if "gpu" in machine:
        return str(machine["gpu"])
    units = machine.get("bf16_units", "none")
    return f"{machine.get('cpu', 'unknown')}, {'no bf16 units' if units == 'none' else units}"


def code_commit() -> str:
    """The commit of the running code, with a mark where files differ from it; "unknown" outside a checkout."""
    commit = _git(_ROOT, "rev-parse", "--short", "HEAD")
    changed = _git(_ROOT, "status", "--porcelain", "--untracked-files=no", "--", "node", "swarm", "policies")
    return f"{commit}{'-changed' if changed else ''}" if commit else "unknown"


def circumstances() -> dict[str, str | int]:
    """What a run is of and begins under: the commit, the day in UTC, and the processes that wait for a core."""
    day = datetime.now(UTC).date().isoformat()
    return {"commit": code_commit(), "date": day, "load": round(os.getloadavg()[0])}


def commits_since(root: Path, commit: str, paths: Sequence[str]) -> int | None:
    """How many commits after `commit` touch `paths`; None where git, or that commit, is not there."""
    count = _git(root, "rev-list", "--count", f"{commit.removesuffix('-changed')}..HEAD", "--", *paths)
    return int(count) if count else None


def _git(root: Path, *words: str) -> str | None:
    """What git says in `root`; None where it cannot."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=root, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def measure_limits(device: torch.device) -> Limits:
    """Takes about MEASURE_SECONDS a limit, three in all."""
    rates = {name: _matmul_rate(device, getattr(torch, name)) for name in ("float32", "bfloat16")}
    return Limits(_read_rate(device), rates)


def clock_of(device: torch.device) -> Callable[[], float]:
    """Processor seconds on a CPU where torch has one thread, which other programs disturb least; else wall seconds."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was given; a CPU always has."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def _read_rate(device: torch.device) -> float:
    """GB/s at which a large tensor is summed."""
    size = READ_BYTES.get(device.type, READ_BYTES["cpu"])
    values = torch.ones(size // 4, dtype=torch.float32, device=device)
    return size / _fastest(lambda: values.sum(), device) / GIGA


def _matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """GFLOP/s of a square product."""
    side = MATMUL_SIDE.get(device.type, MATMUL_SIDE["cpu"])
    left, right = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    return 2 * side**3 / _fastest(lambda: left @ right, device) / GIGA


def _fastest(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of the repeats that fit into MEASURE_SECONDS, at least three."""
    seconds: list[float] = []
    while len(seconds) < 3 or sum(seconds) < MEASURE_SECONDS:
        start = time.perf_counter()
        action()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _processor_information() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is none."""
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return {}
    first = file.read_text().split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
