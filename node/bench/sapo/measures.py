"""Figures of a cell of `murmur bench sapo`, single ones and the curve of its rounds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

from node.bench.sapo.cell import Cell

SMOOTHED = 10  # rounds in the moving mean of a curve
Cost = Literal["cpu", "tokens"]  # of a round: seconds, or tokens sampled


def cumulative(cell: Cell) -> float:
    """Sum over nodes and rounds of the mean reward of the own rollouts: the area under the curves."""
    return sum(sum(node.rewards) for node in cell.nodes)


def papers_metric(cell: Cell) -> float:
    """The same of the groups that updates were given, imported ones among them, as the reference code logs it."""
    return sum(sum(node.update_rewards) for node in cell.nodes)


def held_out(cell: Cell) -> float:
    """pass@1 after the last round, mean over nodes."""
    return statistics.fmean(node.end.pass_1 for node in cell.nodes)


def held_out_by_task(cell: Cell) -> dict[str, float]:
    """The same by task, named without its version."""
    by_task: dict[str, list[float]] = defaultdict(list)
    for node in cell.nodes:
        for task, share in node.end.by_task.items():
            by_task[task.partition("@")[0]].append(share)
    return {task: statistics.fmean(shares) for task, shares in sorted(by_task.items())}


def spent(cell: Cell, cost: Cost) -> list[float]:
    """What each round cost all nodes together."""
    return [sum(costs) for costs in zip(*(getattr(node, cost) for node in cell.nodes), strict=True)]


def cumulative_within(cell: Cell, budget: float, cost: Cost) -> float:
    """Cumulative reward of the rounds that a population plays for `budget`; the last one counts in part."""
    total = 0.0
    for number, price in enumerate(spent(cell, cost)):
        reward = sum(node.rewards[number] for node in cell.nodes)
        if price >= budget:
            return total + (reward * budget / price if price else 0.0)
        total, budget = total + reward, budget - price
    return total


def curve(cell: Cell) -> list[float]:
    """Mean own reward of the nodes, round by round, as a moving mean over SMOOTHED rounds."""
    plain = [statistics.fmean(rewards) for rewards in zip(*(n.rewards for n in cell.nodes), strict=True)]
    return [statistics.fmean(plain[max(0, i + 1 - SMOOTHED) : i + 1]) for i in range(len(plain))]


def deepest_fall(cell: Cell) -> float:
    """How far the smoothed curve ever fell below its own highest point before: what oscillates, falls."""
    smooth = curve(cell)
    peaks = accumulate(smooth, max)
    return max((peak - value for peak, value in zip(peaks, smooth, strict=True)), default=0.0)


def pairs(cells: Sequence[Cell], arm: str, other: str) -> list[tuple[Cell, Cell]]:
    """The cells of two arms by seed, where both were trained."""
    theirs = {cell.seed: cell for cell in cells if cell.arm == other}
    mine = [cell for cell in cells if cell.arm == arm and cell.nodes[0].rewards]
    return [(cell, theirs[cell.seed]) for cell in mine if cell.seed in theirs]
