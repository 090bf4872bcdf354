"""`murmur bench sapo`: SAPO's controlled experiment (arXiv 2509.08721, sec. 4) with the real loop, and its controls.

Cells (arm, seed) that are finished are kept in a folder; a second call with the same one goes on. The cells of one seed
are played in one heat and kept at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from node.bench.kit.cell_store import CellStore
from node.bench.kit.options import BenchError, BenchOptions, refuse_unknown
from node.bench.kit.report import Interrupted, Progress, Report
from node.bench.sapo.arms import ALL_SPLITS, SPLITS, Arm, arms_of, baseline, starting
from node.bench.sapo.cell import Cell
from node.bench.sapo.compare import checks, comparison_rows
from node.bench.sapo.heat import play_heat
from node.bench.sapo.plot import draw_curves
from node.bench.sapo.population import ALIKE, LEARNING_RATE, POLICIES, POPULATIONS, PopulationPlan
from node.bench.sapo.rates import CHOICE_SEED, candidates, choice_rows, chosen, parse_rates
from node.bench.sapo.report import rows

NODES, ROUNDS, SEEDS = 8, 60, 3
FOLDER = Path("runs/bench-sapo")


@dataclass(frozen=True, slots=True)
class Experiment:
    """What one call of the bench is to measure."""

    arms: Sequence[Arm]  # the baseline among them
    seeds: Sequence[int]
    rates: Sequence[float]  # to choose from for each arm; none: the policy's own
    store: CellStore[Cell]
    plan: PopulationPlan
    plot: Path | None

    @classmethod
    def of(cls, options: BenchOptions) -> Experiment:
        """Raises BenchError for what cannot be measured."""
        arms = _wanted(options)
        seeds = range(options.first_seed, options.first_seed + (options.repeats or SEEDS))
        if CHOICE_SEED in seeds:
            raise BenchError(
                f"learning rates are chosen on seed {CHOICE_SEED}: set --first-seed so that it is not among yours"
            )
        plan = _plan(options)
        store = CellStore(options.folder or FOLDER, plan, Cell.from_json)
        return cls(arms, seeds, parse_rates(options.rates), store, plan, options.plot)

    def choice_cells(self) -> dict[str, Cell]:
        """What is finished of the cells that learning rates are chosen by, by the key of their arm."""
        keys = [candidate.key for arm in self.arms for candidate in candidates(arm, self.rates)]
        return {cell.arm: cell for cell in self.store.cells(keys, [CHOICE_SEED])}

    def tuned(self) -> list[Arm]:
        """The arms, each at its chosen rate as soon as it was tried at all of them."""
        played = self.choice_cells()
        return [chosen(arm, self.rates, played) for arm in self.arms]

    def cells(self) -> list[Cell]:
        """What is finished of the reported cells, under the names of their arms."""
        return [
            replace(cell, arm=arm.name)
            for arm in self.tuned()
            for cell in self.store.cells([arm.key], self.seeds)
        ]


def run(options: BenchOptions, progress: Progress) -> Report:
    """Plays the cells that are not finished yet, seed by seed. Raises Interrupted with the finished ones on Ctrl-C."""
    experiment = Experiment.of(options)
    try:
        _play_missing(experiment, progress)
    except KeyboardInterrupt:
        raise Interrupted(_report(experiment, options)) from None
    report = _report(experiment, options)
    if experiment.plot:
        experiment.plot.write_text(draw_curves(experiment.cells()), encoding="utf-8")
    return report


def _play_missing(experiment: Experiment, progress: Progress) -> None:
    _play([starting(experiment.arms)], 0, experiment, progress)
    tries = [candidate for arm in experiment.arms for candidate in candidates(arm, experiment.rates)]
    _play(tries, CHOICE_SEED, experiment, progress)
    for seed in experiment.seeds:
        _play(experiment.tuned(), seed, experiment, progress)


def _play(arms: Sequence[Arm], seed: int, experiment: Experiment, progress: Progress) -> None:
    """Those of one seed that are not kept yet, in one heat."""
    missing = [arm for arm in arms if experiment.store.get(arm.key, seed) is None]
    if missing:
        progress(f"seed {seed}: {', '.join(arm.key for arm in missing)}")
        for cell in play_heat(missing, seed, experiment.plan, progress):
            experiment.store.put(cell)


def _report(experiment: Experiment, options: BenchOptions) -> Report:
    plan, arms = experiment.plan, experiment.tuned()
    start = starting(arms)
    cells, silo = experiment.cells(), baseline(arms).name
    facts: dict[str, str | int | float | bool | None] = {
        **options.machine,
        "nodes": plan.nodes,
        "rounds": plan.rounds,
        "policy": plan.policy,
        "population": plan.population,
    }
    if plan.policy == POLICIES[0]:
        facts["learning_rate"] = LEARNING_RATE  # of arms without one of their own
    table = [
        *rows([*experiment.store.cells([start.key], [0]), *cells], [start, *arms]),
        *comparison_rows(cells, arms, silo),
        *choice_rows(experiment.arms, experiment.rates, experiment.choice_cells()),
    ]
    return Report("sapo", facts, list(experiment.seeds), table, checks(cells, arms, silo))


def _wanted(options: BenchOptions) -> list[Arm]:
    """The arms that were asked for, and the silo that all are compared with. Raises BenchError."""
    arms = arms_of(options.splits or (ALL_SPLITS if options.cases else SPLITS))
    refuse_unknown("arm", options.cases, [arm.name for arm in arms])
    silo = baseline(arms)
    return [
        arm for arm in arms if arm == silo or (arm.name in options.cases if options.cases else not arm.extra)
    ]


def _plan(options: BenchOptions) -> PopulationPlan:
    """Raises BenchError for a population that cannot be made."""
    policy, nodes = options.policy or POLICIES[0], options.nodes or NODES
    population = options.population or POPULATIONS[0]
    refuse_unknown("policy", [policy], POLICIES)
    refuse_unknown("population", [population], POPULATIONS)
    if nodes < 2:
        raise BenchError("one node has nobody to share with: set --nodes to 2 or more")
    if policy != POLICIES[0] and (options.population or options.rates):
        raise BenchError(
            "only the embedded policy is made in populations, and its learning rate is the only one that is chosen: "
            "leave out --population and --rates, or --policy"
        )
    if policy != POLICIES[0]:
        population = ALIKE  # all begin as the same model
    return PopulationPlan(nodes, options.rounds or ROUNDS, policy, population)
