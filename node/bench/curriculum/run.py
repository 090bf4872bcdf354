"""`murmur bench curriculum`: SmolLM2 on reasoning-gym tasks of which it answers under one in twenty.

Three arms in one run: the hard level alone, all levels of the ladder drawn uniformly, and drawn by the own success
rates. Looked at is the hard level, on held-out problems, after how many own rollouts it leaves zero. Cells (task, arm,
seed) that are finished are kept in a folder; a second call with the same one goes on.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from node.bench.curriculum.cases import ARMS, LADDERS, LOCAL, ROLLOUTS, Arm, Plan
from node.bench.curriculum.cell import Cell, play_cell
from node.bench.kit.cell_store import CellStore
from node.bench.kit.options import BenchOptions, refuse_unknown
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row

ROUNDS, SEEDS = 16, 1
EVERY, JUDGED = 4, 20
LEFT = 0.1  # of the held-out answers right: zero is left
FOLDER = Path("runs/bench-curriculum")


def run(options: BenchOptions, progress: Progress) -> Report:
    """Plays the cells that are not finished yet. Raises BenchError; Interrupted with the finished ones on Ctrl-C."""
    refuse_unknown("task", options.cases, LADDERS)
    cases = options.cases or tuple(LADDERS)
    rounds = options.rounds or ROUNDS
    plan = Plan(rounds, min(EVERY, rounds), JUDGED, options.model or "")
    store = CellStore(options.folder or FOLDER, plan, Cell.from_json)
    wanted = [(case, arm, seed) for seed in range(options.repeats or SEEDS) for case in cases for arm in ARMS]
    try:
        for done, (case, arm, seed) in enumerate(wanted, 1):
            if store.get(f"{case} {arm.name}", seed) is None:
                progress(f"cell {done} of {len(wanted)}: {case}, {arm.name}, seed {seed}")
                store.put(play_cell(case, arm, seed, plan, progress))
    except KeyboardInterrupt:
        raise Interrupted(_report(options, store, wanted, plan)) from None
    return _report(options, store, wanted, plan)


def _report(
    options: BenchOptions, store: CellStore[Cell], wanted: Sequence[tuple[str, Arm, int]], plan: Plan
) -> Report:
    cells = [
        cell for case, arm, seed in wanted if (cell := store.get(f"{case} {arm.name}", seed)) is not None
    ]
    facts = {
        **options.machine,
        "rounds": plan.rounds,
        "groups a round": LOCAL,
        "rollouts a group": ROLLOUTS,
        "held-out problems": plan.judged,
    }
    return Report(
        "curriculum", facts, sorted({cell.seed for cell in cells}), _rows(cells), list(_checks(cells))
    )


def _rows(cells: Sequence[Cell]) -> list[Row]:
    return [
        {
            "task": cell.case,
            "drawn": cell.name,
            "seed": cell.seed,
            "start": cell.looks[0].reward,
            "end": cell.looks[-1].reward,
            "best": max(look.reward for look in cell.looks),
            "left_zero_after": left_zero_after(cell),
            "rollouts": cell.looks[-1].rollouts,
            "groups_by_level": "/".join(map(str, cell.drawn)),
            "cpu_seconds": cell.cpu_seconds,
        }
        for cell in cells
    ]


def left_zero_after(cell: Cell) -> float:
    """Own rollouts until a look found LEFT of the answers right; infinite where none did."""
    return next((float(look.rollouts) for look in cell.looks if look.reward >= LEFT), math.inf)


def _checks(cells: Sequence[Cell]) -> Iterator[Check]:
    """Of each task, at its end: adaptive less uniform, and adaptive less the hard level alone, over seeds."""
    for case in dict.fromkeys(cell.case for cell in cells):
        ends = {(cell.name, cell.seed): cell.looks[-1].reward for cell in cells if cell.case == case}
        for other in ("uniform", "alone"):
            gains = [
                reward - ends[other, seed]
                for (name, seed), reward in ends.items()
                if name == "adaptive" and (other, seed) in ends
            ]
            if gains:
                yield Check(
                    f"{case}: adaptive less {other}",
                    "-",
                    statistics.median(gains),
                    min(gains),
                    max(gains),
                    floor=0.0,
                )
