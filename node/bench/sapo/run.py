"""`murmur bench sapo`: SAPO's controlled experiment (arXiv 2509.08721, sec. 4) with the real loop, and its controls.

Cells (arm, seed) that are finished are kept in a folder; a second call with the same one goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node.bench.kit.cell_store import CellStore
from node.bench.kit.options import BenchError, BenchOptions, refuse_unknown
from node.bench.kit.report import Interrupted, Progress, Report
from node.bench.sapo.arms import SPLITS, Arm, arms_of, baseline, starting
from node.bench.sapo.cell import Cell, play_cell
from node.bench.sapo.plot import draw_curves
from node.bench.sapo.population import POLICIES, PopulationPlan
from node.bench.sapo.report import checks, rows

NODES, ROUNDS, SEEDS = 8, 60, 3
FOLDER = Path("runs/bench-sapo")


@dataclass(frozen=True, slots=True)
class Experiment:
    """What one call of the bench is to measure."""

    arms: Sequence[Arm]  # the baseline among them
    seeds: Sequence[int]
    store: CellStore[Cell]
    plan: PopulationPlan
    plot: Path | None

    @classmethod
    def of(cls, options: BenchOptions) -> Experiment:
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
        plan = PopulationPlan(nodes, options.rounds or ROUNDS, policy, options.unlike)
        seeds = range(options.repeats or SEEDS)
        store = CellStore(options.folder or FOLDER, plan, Cell.from_json)
        return cls(wanted, seeds, store, plan, options.plot)


def run(options: BenchOptions, progress: Progress) -> Report:
    """Plays the cells that are not finished yet, seed by seed. Raises Interrupted with the finished ones on Ctrl-C."""
    experiment = Experiment.of(options)
    try:
        _play_missing(experiment, progress)
    except KeyboardInterrupt:
        raise Interrupted(_report(experiment, options)) from None
    report = _report(experiment, options)
    if experiment.plot:
        experiment.plot.write_text(draw_curves(_cells(experiment)), encoding="utf-8")
    return report


def _play_missing(experiment: Experiment, progress: Progress) -> None:
    arms, store = experiment.arms, experiment.store
    wanted = [(starting(arms), 0), *((arm, seed) for seed in experiment.seeds for arm in arms)]
    for done, (arm, seed) in enumerate(wanted):
        if store.get(arm.name, seed) is None:
            progress(f"cell {done + 1} of {len(wanted)}: {arm.name}, seed {seed}")
            store.put(play_cell(arm, seed, experiment.plan, progress))


def _cells(experiment: Experiment) -> list[Cell]:
    return experiment.store.cells([arm.name for arm in experiment.arms], experiment.seeds)


def _report(experiment: Experiment, options: BenchOptions) -> Report:
    start = experiment.store.cells([starting(experiment.arms).name], [0])
    cells, silo = _cells(experiment), baseline(experiment.arms).name
    plan = experiment.plan
    facts = {
        **options.machine,
        "nodes": plan.nodes,
        "rounds": plan.rounds,
        "policy": plan.policy,
        "unlike": plan.unlike,
    }
    shares = [arm.name for arm in experiment.arms if arm.shares]
    table = rows([*start, *cells], silo)
    return Report("sapo", facts, list(experiment.seeds), table, checks(cells, silo, shares))
