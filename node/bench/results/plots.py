"""The plots of docs/results.md, drawn again from finished cells or from a kept report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from node.bench.branch.arms import Point
from node.bench.branch.plot import draw
from node.bench.sapo.arms import name_of
from node.bench.sapo.cell import Cell
from node.bench.sapo.plot import draw_curves
from node.bench.sapo.rates import CHOICE_SEED
from policies.plain_files import read_json

# Picture under docs/images -> what it is drawn from, under results/.
PLOTS: Mapping[str, str] = {
    "sapo-specialists.svg": "sapo-specialists",
    "sapo-alike.svg": "sapo-alike",
    "branch.svg": "branch.json",
}


def draw_plot(picture: str, kept: Path) -> str | None:
    """The picture as SVG; None where its cells are not kept. Raises what a damaged file raises: see READ_ERRORS."""
    source = kept / PLOTS[picture]
    if source.suffix == ".json":
        return _branch(read_json(source)) if source.is_file() else None
    files = sorted(source.glob("*.json")) if source.is_dir() else []
    cells = [Cell.from_json(read_json(file)) for file in files]
    reported = [replace(cell, arm=name_of(cell.arm)) for cell in cells if cell.seed != CHOICE_SEED]
    trained = [cell for cell in reported if cell.nodes[0].rewards]
    return draw_curves(trained) if trained else None


READ_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError)


def _branch(report: Mapping[str, Any]) -> str:
    curves: dict[str, dict[int, list[Point]]] = {}
    for row in report["rows"]:
        point = Point(
            iteration=row["iteration"],
            reward=row["reward"],
            judged=row["judge"],
            rollout_seconds=row["rollout_cpu_s"],
            training_seconds=row["training_cpu_s"],
            sampled=row["sampled"],
            trained=row["trained"],
        )
        curves.setdefault(row["arm"], {}).setdefault(row["seed"], []).append(point)
    return draw({arm: list(seeds.values()) for arm, seeds in curves.items()})
