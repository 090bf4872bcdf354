"""Options of `murmur eval`, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from node.evaluation.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Options:
    """What `murmur eval` was asked."""

    model: str
    tasks: tuple[str, ...] = ()  # empty: those of the run, or of the model's lineage
    rollouts: int = 8
    ks: tuple[int, ...] = (1, 4, 8)
    problems: int = 50  # of each task
    base: str | None = None
    round: int | None = None
    cap: int | None = None  # tokens of an answer
    seed: int = 0
    show: int = 0


def options_of(tasks: str, ks: str, **others: Any) -> Options:
    """Lists from their text. Raises EvaluationError."""
    try:
        numbers = tuple(sorted({int(part) for part in ks.split(",") if part.strip()}))
    except ValueError:
        numbers = ()
    if not numbers or numbers[0] < 1:
        raise EvaluationError(f"--k takes whole numbers from 1 on, parted by commas, as in 1,4,8; not {ks!r}")
    if numbers[-1] > others["rollouts"]:
        raise EvaluationError(
            f"pass@{numbers[-1]} takes as many answers to each problem: set --rollouts {numbers[-1]}, or a smaller --k"
        )
    names = tuple(dict.fromkeys(part.strip() for part in tasks.split(",") if part.strip()))
    return Options(tasks=names, ks=numbers, **others)
