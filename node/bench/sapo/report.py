"""Rows of `murmur bench sapo`: what each arm came to, by task and by node."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from node.bench.kit.report import Row, spread
from node.bench.sapo.arms import PAPER, Arm
from node.bench.sapo.cell import Cell, NodeCourse
from node.bench.sapo.measures import cumulative, deepest_fall, held_out, held_out_by_task, papers_metric


def rows(cells: Sequence[Cell], arms: Sequence[Arm]) -> list[Row]:
    """One row an arm, means over its seeds with their range; then held-out shares right by task, and by node."""
    played = [(arm, mine) for arm in arms if (mine := [cell for cell in cells if cell.arm == arm.name])]
    return [
        *(_row(arm, mine) for arm, mine in played),
        *(_task_row(arm.name, mine) for arm, mine in played),
        *(_node_row(arm.name, mine) for arm, mine in played),
    ]


def _row(arm: Arm, mine: Sequence[Cell]) -> Row:
    row: dict[str, str | int | float | bool | None] = {"arm": arm.name, "seeds": len(mine)}
    row |= {"learning_rate": arm.learning_rate}
    row |= spread("own_reward", [cumulative(cell) for cell in mine])
    row |= spread("pass_1", [held_out(cell) for cell in mine])
    row |= spread("pass_8", [statistics.fmean(node.end.pass_k for node in cell.nodes) for cell in mine])
    row |= spread("papers_metric", [papers_metric(cell) for cell in mine])
    row |= {"deepest_fall": max(map(deepest_fall, mine))}
    row |= _effort([node for cell in mine for node in cell.nodes])
    paper = PAPER.get(arm.name)
    return row | {"paper": paper, "paper_uplift": paper / PAPER["8/0"] - 1.0 if paper else None}


def _effort(nodes: Sequence[NodeCourse]) -> dict[str, float]:
    """Means a node: CPU seconds, tokens sampled, groups generated and groups with a signal in its updates."""
    wanted = sum(node.external + node.missing for node in nodes)
    return {
        **spread("cpu_seconds", [sum(node.cpu) for node in nodes]),
        "tokens": statistics.fmean(sum(node.tokens) for node in nodes),
        "generated": statistics.fmean(node.generated for node in nodes),
        "telling": statistics.fmean(node.telling for node in nodes),
        "external": statistics.fmean(node.external for node in nodes),
        "missing_share": sum(node.missing for node in nodes) / wanted if wanted else 0.0,
    }


def _task_row(name: str, mine: Sequence[Cell]) -> Row:
    scores = [held_out_by_task(cell) for cell in mine]
    row: dict[str, str | float] = {"held_out_by_task": name}
    for task in scores[0]:
        row |= spread(task, [score[task] for score in scores])
    return row


def _node_row(name: str, mine: Sequence[Cell]) -> Row:
    return {"held_out_by_node": name} | {
        f"node_{number}": statistics.fmean(cell.nodes[number].end.pass_1 for cell in mine)
        for number in range(len(mine[0].nodes))
    }
