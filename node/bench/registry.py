"""The benchmarks that `murmur bench` knows, each imported only when it is run.

Each is a module with `run(options: BenchOptions, progress: Progress) -> Report`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from node.bench.kit.options import FLAGS, BenchError, BenchOptions, refuse_unknown
from node.bench.kit.report import Progress, Report

# Name of the benchmark -> the options that it follows.
BENCHMARKS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "april": frozenset({"model", "repeats"}),
        "branch": frozenset({"repeats", "cases", "rounds", "plot"}),
        "brorl": frozenset({"model", "repeats"}),
        "dars": frozenset({"repeats"}),
        "engine": frozenset({"model", "repeats", "cases", "dtypes"}),
        "faults": frozenset({"cases"}),
        "gossip": frozenset({"repeats", "cases"}),
        "sapo": frozenset(
            {"repeats", "cases", "nodes", "splits", "rounds", "policy", "unlike", "plot", "folder"}
        ),
        "step": frozenset({"model", "repeats"}),
        "strategies": frozenset({"repeats", "cases"}),
    }
)

# Experiments on strategies share one room; every other benchmark is the `run` module of its own.
_STRATEGY_MODULES: Mapping[str, str] = MappingProxyType(
    {name: f"node.bench.strategies.{name}" for name in ("april", "brorl", "dars")}
    | {"strategies": "node.bench.strategies.compare"}
)


def module_of(name: str) -> str:
    """The module that holds the benchmark `name`."""
    return _STRATEGY_MODULES.get(name, f"node.bench.{name}.run")


def run_benchmark(name: str, options: BenchOptions, progress: Progress) -> Report:
    """Runs one benchmark to its end. Raises BenchError before anything is measured, Interrupted on Ctrl-C."""
    refuse_unknown("benchmark", [name], BENCHMARKS)
    refused = sorted(options.given() - BENCHMARKS[name])
    if refused:
        raise BenchError(f"bench {name} takes no {FLAGS[refused[0]]}; leave it out")

    from node.bench.kit.machine import best_device, machine_facts

    known = replace(options, machine=machine_facts(best_device()))
    report: Report = importlib.import_module(module_of(name)).run(known, progress)
    return report
