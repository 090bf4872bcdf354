"""`murmur bench sapo`: SAPO's controlled experiment (arXiv 2509.08721, sec. 4) with the real loop, and its controls.

Cells (arm, seed) that are finished are kept in a folder; a second call with the same one goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node.bench.kit.options import BenchError, BenchOptions, refuse_unknown
from node.bench.kit.report import Interrupted, Progress, Report
from node.bench.sapo.arms import SPLITS, Arm, arms_of, baseline, starting
from node.bench.sapo.cell import Cell, play_cell
from node.bench.sapo.cell_store import CellStore
from node.bench.sapo.plot import draw_curves
from node.bench.sapo.population import POLICIES, Plan
from node.bench.sapo.report import checks, rows

NODES, ROUNDS, SEEDS = 8, 60, 3
FOLDER = Path("runs/bench-sapo")


@dataclass(frozen=True, slots=True)
class Request:
    """What one call of the bench is to measure."""

    arms: Sequence[Arm]  # the baseline among them
    seeds: Sequence[int]
    shelf: CellStore
    plot: Path | None

    @classmethod
    def of(cls, options: BenchOptions) -> Request:
        """Raises BenchError for what cannot be measured."""
        policy, nodes = options.policy or POLICIES[0], options.nodes or NODES
        refuse_unknown("policy", [policy], POLICIES)
        if nodes < 2:
            raise BenchError("one node has nobody to share with: set --nodes to 2 or more")
        arms = arms_of(options.splits or SPLITS)
        refuse_unknown("arm", options.cases, [arm.name for arm in arms])
        silo = baseline(arms)
        wanted = [arm for arm in arms if not options.cases or arm.name in options.cases or arm == silo]
        if options.unlike and policy != POLICIES[0]:
            raise BenchError(
                "only the embedded policy is made in unlike sizes: leave out --unlike or --policy"
            )
        plan = Plan(nodes, options.rounds or ROUNDS, policy, options.unlike)
        seeds = range(options.repeats or SEEDS)
        return cls(wanted, seeds, CellStore(options.folder or FOLDER, plan), options.plot)


def run(options: BenchOptions, progress: Progress) -> Report:
    """Plays the cells that are not finished yet, seed by seed. Raises Interrupted with the finished ones on Ctrl-C."""
    request = Request.of(options)
    try:
        _play_missing(request, progress)
    except KeyboardInterrupt:
        raise Interrupted(_report(request, options)) from None
    report = _report(request, options)
    if request.plot:
        request.plot.write_text(draw_curves(_cells(request)), encoding="utf-8")
    return report


def _play_missing(request: Request, progress: Progress) -> None:
    arms, shelf = request.arms, request.shelf
    wanted = [(starting(arms), 0), *((arm, seed) for seed in request.seeds for arm in arms)]
    for done, (arm, seed) in enumerate(wanted):
        if shelf.get(arm.name, seed) is None:
            progress(f"cell {done + 1} of {len(wanted)}: {arm.name}, seed {seed}")
            shelf.put(play_cell(arm, seed, shelf.plan, progress))


def _cells(request: Request) -> list[Cell]:
    return request.shelf.cells([arm.name for arm in request.arms], request.seeds)


def _report(request: Request, options: BenchOptions) -> Report:
    start = request.shelf.cells([starting(request.arms).name], [0])
    cells, silo = _cells(request), baseline(request.arms).name
    plan = request.shelf.plan
    facts = {
        **options.machine,
        "nodes": plan.nodes,
        "rounds": plan.rounds,
        "policy": plan.policy,
        "unlike": plan.unlike,
    }
    shares = [arm.name for arm in request.arms if arm.shares]
    table = rows([*start, *cells], silo)
    return Report("sapo", facts, list(request.seeds), table, checks(cells, silo, shares))
