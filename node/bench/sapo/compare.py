"""One arm of `murmur bench sapo` against another, seed by seed: at equal rounds, tokens and CPU seconds, and as judged.

Gains of reward are fractions, 0.94 is the paper's +94 %; those of held-out shares are differences.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from node.bench.kit.report import Check, Row, interval
from node.bench.sapo.arms import Arm
from node.bench.sapo.cell import Cell
from node.bench.sapo.measures import (
    Cost,
    cumulative,
    cumulative_within,
    held_out,
    held_out_by_task,
    pairs,
    spent,
)

PAPER_UPLIFT = 0.94
AXES = ("equal_rounds", "equal_tokens", "equal_cpu", "judged", "judged_but_best")


def comparison_rows(cells: Sequence[Cell], arms: Sequence[Arm], silo: str) -> list[Row]:
    """Every arm against the published silo, and every sharing arm against every other silo; those that are played."""
    others = [arm.name for arm in arms if not arm.shares and arm.name != silo]
    wanted = [(arm.name, silo) for arm in arms if arm.name != silo]
    wanted += [(arm.name, other) for other in others for arm in arms if arm.shares]
    return [_row(cells, *pair) for pair in wanted if pairs(cells, *pair)]


def checks(cells: Sequence[Cell], arms: Sequence[Arm], silo: str) -> list[Check]:
    """The paper's headline, and the best sharing arm against whichever silo it leads least, on each axis.

    The best sharing arm is that of the largest mean own reward.
    """
    found: list[Check] = []
    if figures := gains(cells, "4/4", silo, "equal_rounds"):
        found.append(Check.of("uplift_4_4", figures, paper="+94 %", floor=PAPER_UPLIFT))
    uplifts = {arm.name: gains(cells, arm.name, silo, "equal_rounds") for arm in arms if arm.shares}
    means = {name: statistics.fmean(figures) for name, figures in uplifts.items() if figures}
    if not means:
        return found
    best = max(means, key=lambda name: means[name])
    silos = [arm.name for arm in arms if not arm.shares and pairs(cells, best, arm.name)]
    for axis in AXES[:-1]:
        by_silo = [gains(cells, best, name, axis) for name in silos]
        if known := [figures for figures in by_silo if figures]:
            found.append(Check.of(f"best_{axis}", min(known, key=statistics.fmean), floor=1e-9))
    return found


def gains(cells: Sequence[Cell], arm: str, other: str, axis: str) -> list[float]:
    """What `arm` is ahead of `other` on one of AXES, for every seed in which both are finished."""
    both = pairs(cells, arm, other)
    if axis == "judged":
        return [held_out(mine) - held_out(theirs) for mine, theirs in both]
    if axis == "judged_but_best":
        return _without(both, best_task(both))
    if axis == "equal_rounds":
        return [cumulative(mine) / reward - 1 for mine, theirs in both if (reward := cumulative(theirs))]
    cost: Cost = "tokens" if axis == "equal_tokens" else "cpu"
    return [gain for pair in both if (gain := _within(*pair, cost)) is not None]


def best_task(both: Sequence[tuple[Cell, Cell]]) -> str:
    """The task in which the first of each pair is furthest ahead, as judged, in the mean over seeds."""
    scores = [(held_out_by_task(mine), held_out_by_task(theirs)) for mine, theirs in both]
    return max(scores[0][0], key=lambda task: sum(mine[task] - theirs[task] for mine, theirs in scores))


def _row(cells: Sequence[Cell], arm: str, other: str) -> Row:
    both = pairs(cells, arm, other)
    row: dict[str, str | int | float | bool | None] = {"compared": arm, "with": other, "pairs": len(both)}
    for axis in AXES:
        row |= interval(axis, gains(cells, arm, other, axis))
    return row | {"best_task": best_task(both)}


def _within(mine: Cell, theirs: Cell, cost: Cost) -> float | None:
    """Gain in reward up to what the cheaper of both cost in all; None where the other got nothing for it."""
    budget = min(sum(spent(mine, cost)), sum(spent(theirs, cost)))
    reward = cumulative_within(theirs, budget, cost)
    return cumulative_within(mine, budget, cost) / reward - 1 if reward else None


def _without(both: Sequence[tuple[Cell, Cell]], task: str) -> list[float]:
    """Differences in held-out share, mean over all tasks but one; none where there is no other."""
    kept = [name for name in held_out_by_task(both[0][0]) if name != task] if both else []
    if not kept:
        return []
    means = [
        tuple(statistics.fmean(held_out_by_task(cell)[name] for name in kept) for cell in pair)
        for pair in both
    ]
    return [mine - theirs for mine, theirs in means]
