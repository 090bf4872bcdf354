"""`murmur bench faults`: real nodes on an internet of their own, which is then broken in five ways.

A bootstrap peer and six `murmur join` processes, each in a network namespace. Everything in the report is read
from their event stores, which the benchmark does not share with them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from node.baseline.processes import NodeProcesses
from node.bench.faults.cases import CASES, FaultCase
from node.bench.faults.report import FaultOutcome, checks
from node.bench.faults.swarm import NODES, POLL_SECONDS, PRESET, SEED, TestedSwarm, outliving
from node.bench.kit.options import BenchOptions, refuse_unknown
from node.bench.kit.report import Interrupted, Progress, Report
from node.bench.netlab.lab import Lab
from node.config.reading import load_config
from node.storage.run_folder import new_run_folder

BEFORE_SECONDS = 15.0
AFTER_SECONDS = 15.0  # at least
PATIENCE_SECONDS = 120.0  # after the fault, for delivery to recover


def run(options: BenchOptions, progress: Progress) -> Report:
    """Starts one swarm and breaks it case by case. Raises LabError, BenchError; Interrupted on Ctrl-C."""
    refuse_unknown("case", options.cases, (case.name for case in CASES))
    chosen = [case for case in CASES if case.name in options.cases or not options.cases]
    folder = new_run_folder("faults").path
    machine = dict(options.machine) | {"nodes": NODES, "folder": str(folder)}
    outcomes: list[FaultOutcome] = []
    left_over = 0
    try:
        with Lab(SEED) as lab:
            try:
                for outcome in _inject_faults(lab, folder, chosen, progress):
                    outcomes.append(outcome)
            finally:
                left_over = outliving(lab.hosts)
    except KeyboardInterrupt:
        raise Interrupted(_report(machine, outcomes, left_over)) from None
    return _report(machine, outcomes, left_over)


def _inject_faults(
    lab: Lab, folder: Path, cases: Iterable[FaultCase], progress: Progress
) -> Iterator[FaultOutcome]:
    """The outcome of each case in one swarm, which has ended when the last is taken."""
    _prepare_weights(progress)
    with NodeProcesses() as processes:
        swarm = TestedSwarm(lab, processes, folder)
        progress(f"starting a bootstrap peer and {NODES} nodes; their logs are in {folder}")
        swarm.start()
        for case in cases:
            yield play(case, swarm, progress)


def play(case: FaultCase, swarm: TestedSwarm, progress: Progress) -> FaultOutcome:
    """Some time in peace, the fault, and then until delivery has recovered or patience ends."""
    progress(f"{case.name}: {BEFORE_SECONDS:g} s before the fault")
    begun = time.time()
    time.sleep(BEFORE_SECONDS)
    fault = case.strike(swarm)
    progress(f"{case.name}: the fault holds for {case.seconds:g} s")
    time.sleep(max(0.0, fault.at + case.seconds - time.time()))
    case.mend(swarm, fault)
    mended = time.time()
    progress(f"{case.name}: until delivery has recovered")

    def outcome() -> FaultOutcome:
        ended = time.time()
        victims = frozenset(victim.name for victim in fault.victims)
        records = swarm.records(begun, ended)
        return FaultOutcome(
            case.name, begun, fault.at, mended, ended, records, victims, fault.across, fault.left_over
        )

    while (now := outcome()).ended < mended + PATIENCE_SECONDS:
        if now.ended > mended + AFTER_SECONDS and now.recovery < PATIENCE_SECONDS:
            break
        time.sleep(POLL_SECONDS)
    progress(f"{case.name}: recovered after {now.recovery:.0f} s, longest gap {now.longest_gap:.1f} rounds")
    return now


def _prepare_weights(progress: Progress) -> None:
    """Makes the starting weights if they are not cached yet, so that no node has to."""
    from node.runtime.build import build_policy

    build_policy(load_config(PRESET, [f"seed={SEED}"]), partial(_report_warm_start, progress))


def _report_warm_start(progress: Progress, what: str, done: int, total: int) -> None:
    if done == total or done % max(1, total // 4) == 0:
        progress(f"{what} {done}/{total}")


def _report(machine: dict[str, str | int], outcomes: Sequence[FaultOutcome], left_over: int) -> Report:
    rows = [outcome.row() for outcome in outcomes]
    return Report("faults", machine, [SEED], rows, checks(outcomes, left_over))
