"""Benchmarks of `murmur bench` by name, each imported only when it is run.

Each is a module with `run(options: BenchOptions, progress: Progress) -> Report`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from node.bench.kit.options import BenchOptions, refuse_unknown
from node.bench.kit.report import Progress, Report

# Name of the benchmark -> the module that holds it. Experiments on strategies share one folder.
BENCHMARKS: Mapping[str, str] = MappingProxyType(
    {
        name: f"node.bench.{name}.run"
        for name in (
            "arena",
            "attacks",
            "branch",
            "curriculum",
            "engine",
            "families",
            "faults",
            "gossip",
            "gpu",
            "memory",
            "round",
            "sapo",
            "start",
            "step",
            "store",
        )
    }
    | {name: f"node.bench.strategies.{name}" for name in ("april", "brorl", "dars")}
    | {"strategies": "node.bench.strategies.compare", "verifier": "node.bench.attacks.verifier"}
    | {"page": "node.bench.store.page"}
)


def run_benchmark(name: str, options: BenchOptions, progress: Progress) -> Report:
    """Runs one benchmark to its end. Raises BenchError before anything is measured, Interrupted on Ctrl-C."""
    refuse_unknown("benchmark", [name], BENCHMARKS)

    from node.bench.kit.machine import best_device, circumstances, machine_facts

    known = replace(options, machine=machine_facts(best_device()) | circumstances())
    report: Report = importlib.import_module(BENCHMARKS[name]).run(known, progress)
    return report
