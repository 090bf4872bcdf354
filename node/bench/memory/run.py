"""`murmur bench memory`: small random models of three families, planned and measured; and a 7B one, planned."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from node.bench.kit.machine import machine_facts
from node.bench.kit.options import BenchError, BenchOptions, refuse_unknown
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from policies.plain_files import parse_json

FAMILIES = {"Llama": "llama", "Qwen3": "qwen3", "Gemma 3": "gemma3_text"}
TRAINED = ("full", "lora")
# Freed memory goes back at once, so that what is in use is what the process holds.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
MB = 1_000_000
BAND = 0.15


def run(options: BenchOptions, progress: Progress) -> Report:
    """One case after another. Raises BenchError, or Interrupted with what there is on Ctrl-C."""
    import torch

    from node.bench.memory import seven_billion

    cases = [*(f"{family} {trained}" for family in FAMILIES for trained in TRAINED), seven_billion.CASE]
    refuse_unknown("case", options.cases, cases)
    machine = dict(options.machine or machine_facts(torch.device("cpu")))
    rows: list[Row] = []
    try:
        for case in options.cases or cases:
            if case == seven_billion.CASE:
                rows.append(seven_billion.planned_row())
                continue
            progress(f"{case}: planned, sampled and trained")
            rows.append(measured_row(case))
    except KeyboardInterrupt:
        raise Interrupted(Report("memory", machine, [0], rows, checks_of(rows))) from None
    return Report("memory", machine, [0], rows, checks_of(rows))


def measured_row(case: str) -> Row:
    """Planned and measured MB of one case. Raises BenchError with what its process said."""
    family, _, trained = case.rpartition(" ")
    command = [sys.executable, "-m", "node.bench.memory.work", FAMILIES[family], trained]
    ended = subprocess.run(command, env=os.environ | ALLOCATOR, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise BenchError(f"{case}: {ended.stderr.strip().splitlines()[-1] if ended.stderr else 'it ended'}")
    found: dict[str, dict[str, Any]] = parse_json(ended.stdout.splitlines()[-1])
    planned, measured = found["planned"], found["measured"]
    resident = planned["weights"] + planned["copy"]
    update = (
        resident
        + planned["optimiser"]
        + sum(planned[p] for p in ("gradients", "activations", "update_logits"))
    )
    sampling = resident + planned["optimiser"] + planned["keys_and_values"] + planned["sampling_logits"]
    return {
        "case": case,
        "held_planned": resident / MB,
        "held": measured["held"] / MB,
        "sampling_planned": sampling / MB,
        "sampling": measured["sampling"] / MB,
        "update_planned": update / MB,
        "update": measured["update"] / MB,
        "over_plan": max(measured["sampling"], measured["update"]) / max(sampling, update),
    }


def checks_of(rows: list[Row]) -> list[Check]:
    """The most at once over what was planned for it, the furthest from 1 on either side."""
    ratios = [float(str(row["over_plan"])) for row in rows if "over_plan" in row]
    if not ratios:
        return []
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    return [Check("measured_over_plan", "-", worst, min(ratios), max(ratios), 1 - BAND, 1 + BAND)]
