"""Rows and checks of `murmur bench sapo`: one row an arm, and the figures that the paper's headline is held to.

Uplifts are fractions: 0.94 is the paper's +94 %. Each compares with the silo of the same seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from itertools import accumulate

from node.bench.kit.report import Check, Row, spread
from node.bench.sapo.arms import PAPER
from node.bench.sapo.cell import Cell, NodeCourse

PAPER_UPLIFT = 0.94
SMOOTHED = 10  # rounds in the moving mean of a curve


def rows(cells: Sequence[Cell], silo: str) -> list[Row]:
    """One row an arm, means over its seeds with their range; then the rewards of its end by task."""
    names = list(dict.fromkeys(cell.arm for cell in cells))
    return [
        *(_row(name, [c for c in cells if c.arm == name], cells, silo) for name in names),
        *(_task_row(name, [c for c in cells if c.arm == name]) for name in names),
        *(_node_row(name, [c for c in cells if c.arm == name]) for name in names),
    ]


def checks(cells: Sequence[Cell], silo: str, shares: Sequence[str]) -> list[Check]:
    """The issue's four figures. `best` is the sharing arm of the largest mean cumulative reward."""
    found: list[Check] = []
    if figures := uplifts(cells, "4/4", silo, cumulative):
        found.append(Check.of("uplift_4_4", figures, paper="+94 %", floor=PAPER_UPLIFT))
    whole = [name for name in shares if uplifts(cells, name, silo, cumulative)]
    if not whole:
        return found
    best = max(whole, key=lambda name: statistics.fmean(uplifts(cells, name, silo, cumulative)))
    figures = uplifts(cells, best, silo, cumulative)
    return [
        *found,
        Check.of("uplift_best", figures, paper="+94 % at 4/4", floor=PAPER_UPLIFT),
        Check.of("uplift_best_equal_time", equal_time_uplifts(cells, best, silo), floor=1e-9),
        Check.of("uplift_best_heldout", uplifts(cells, best, silo, held_out), floor=1e-9),
    ]


def cumulative(cell: Cell) -> float:
    """Sum over nodes and rounds of the mean reward of the own rollouts: the area under the curves."""
    return sum(sum(node.rewards) for node in cell.nodes)


def papers_metric(cell: Cell) -> float:
    """The same of the groups that updates were given, imported ones among them, as the reference code logs it."""
    return sum(sum(node.update_rewards) for node in cell.nodes)


def held_out(cell: Cell) -> float:
    """pass@1 after the last round, mean over nodes."""
    return statistics.fmean(node.end.pass_1 for node in cell.nodes)


def cpu_seconds(cell: Cell) -> float:
    """Of all nodes and rounds."""
    return sum(sum(node.cpu) for node in cell.nodes)


def uplifts(cells: Sequence[Cell], arm: str, silo: str, measure: Callable[[Cell], float]) -> list[float]:
    """(arm - silo) / silo of a measure, for every seed in which both are finished."""
    return [
        measure(mine) / against - 1.0
        for mine, other in _pairs(cells, arm, silo)
        if (against := measure(other))
    ]


def equal_time_uplifts(cells: Sequence[Cell], arm: str, silo: str) -> list[float]:
    """Uplifts of the cumulative reward up to the CPU seconds that the cheaper of both took in all."""
    figures = []
    for mine, other in _pairs(cells, arm, silo):
        budget = min(cpu_seconds(mine), cpu_seconds(other))
        if against := cumulative_within(other, budget):
            figures.append(cumulative_within(mine, budget) / against - 1.0)
    return figures


def cumulative_within(cell: Cell, budget: float) -> float:
    """Cumulative reward of the rounds that a population plays in `budget` CPU seconds; the last one counts in part."""
    total = 0.0
    for number in range(len(cell.nodes[0].rewards)):
        spent = sum(node.cpu[number] for node in cell.nodes)
        reward = sum(node.rewards[number] for node in cell.nodes)
        if spent >= budget:
            return total + (reward * budget / spent if spent else 0.0)
        total, budget = total + reward, budget - spent
    return total


def curve(cell: Cell) -> list[float]:
    """Mean own reward of the nodes, round by round, as a moving mean over SMOOTHED rounds."""
    plain = [
        statistics.fmean(node.rewards[i] for node in cell.nodes) for i in range(len(cell.nodes[0].rewards))
    ]
    return [statistics.fmean(plain[max(0, i + 1 - SMOOTHED) : i + 1]) for i in range(len(plain))]


def deepest_fall(cell: Cell) -> float:
    """How far the smoothed curve ever fell below its own highest point before: what oscillates, falls."""
    smooth = curve(cell)
    peaks = accumulate(smooth, max)
    return max((peak - value for peak, value in zip(peaks, smooth, strict=True)), default=0.0)


def _row(name: str, mine: Sequence[Cell], cells: Sequence[Cell], silo: str) -> Row:
    nodes = [node for cell in mine for node in cell.nodes]
    row: dict[str, str | int | float | bool | None] = {"arm": name, "seeds": len(mine)}
    row |= spread("own_reward", [cumulative(cell) for cell in mine])
    row |= _optional_spread("uplift", uplifts(cells, name, silo, cumulative))
    row |= _optional_spread("equal_time", equal_time_uplifts(cells, name, silo))
    row |= spread("pass_1", [held_out(cell) for cell in mine])
    row |= spread("pass_8", [statistics.fmean(node.end.pass_k for node in cell.nodes) for cell in mine])
    row |= {"papers_metric": statistics.fmean(map(papers_metric, mine))}
    row |= {"metric_uplift": _mean(uplifts(cells, name, silo, papers_metric))}
    row |= {"deepest_fall": max(map(deepest_fall, mine))}
    row |= _effort(nodes)
    paper = PAPER.get(name)
    return row | {"paper": paper, "paper_uplift": paper / PAPER["8/0"] - 1.0 if paper else None}


def _effort(nodes: Sequence[NodeCourse]) -> dict[str, float]:
    """Means a node: CPU seconds, tokens sampled, groups generated and groups with a signal in its updates."""
    cpu = [sum(node.cpu) for node in nodes]
    wanted = sum(node.external + node.missing for node in nodes)
    return {
        **spread("cpu_seconds", cpu),
        "tokens": statistics.fmean(sum(node.tokens) for node in nodes),
        "generated": statistics.fmean(node.generated for node in nodes),
        "telling": statistics.fmean(node.telling for node in nodes),
        "external": statistics.fmean(node.external for node in nodes),
        "missing_share": sum(node.missing for node in nodes) / wanted if wanted else 0.0,
    }


def _task_row(name: str, mine: Sequence[Cell]) -> Row:
    ends = [node.end.by_task for cell in mine for node in cell.nodes]
    return {"held_out_by_task": name} | {
        task: statistics.fmean(end[task] for end in ends) for task in sorted(ends[0])
    }


def _node_row(name: str, mine: Sequence[Cell]) -> Row:
    return {"held_out_by_node": name} | {
        f"node_{number}": statistics.fmean(cell.nodes[number].end.pass_1 for cell in mine)
        for number in range(len(mine[0].nodes))
    }


def _pairs(cells: Sequence[Cell], arm: str, silo: str) -> list[tuple[Cell, Cell]]:
    others = {cell.seed: cell for cell in cells if cell.arm == silo}
    trained = [cell for cell in cells if cell.arm == arm and cell.nodes[0].rewards]
    return [(cell, others[cell.seed]) for cell in trained if cell.seed in others]


def _optional_spread(column: str, figures: Sequence[float]) -> dict[str, float | None]:
    if not figures:
        return {column: None, f"{column}_low": None, f"{column}_high": None}
    return dict(spread(column, figures))


def _mean(figures: Sequence[float]) -> float | None:
    return statistics.fmean(figures) if figures else None
