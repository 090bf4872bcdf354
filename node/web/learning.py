"""Curves of a run over its rounds: rewards, loss, lengths, time and difficulty. Pure.

Every curve has one value for each of `rounds`, the mean of a stretch of rounds that ends there; None where nothing
is known.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from node.storage.events import ProblemEvent, RoundEvent
from node.ui.inspect.stats import phase_seconds
from node.web.curves import stretches

Figure = Callable[[RoundEvent], float | None]
FIGURES: Final[Mapping[str, Figure]] = MappingProxyType(
    {
        "reward": lambda event: event.reward,
        "external_reward": lambda event: event.external_reward,
        "loss": lambda event: event.loss,
        "grad_norm": lambda event: event.grad_norm,
        "entropy": lambda event: event.entropy,
        "kl": lambda event: event.kl,
        "divergence": lambda event: event.logprob_mean,
        "tokens_per_second": lambda event: event.tokens / event.seconds if event.seconds else None,
        "seconds": lambda event: event.seconds,
        "cut_share": lambda event: event.cut_share,
        "equal_rewards": lambda event: _equal_share(event),
        "external_share": lambda event: _share(event.trained_external, event.trained_local),
        "stage_one": lambda event: event.stage_one,
    }
)
BINS: Final = 5  # of the histogram of difficulty
PROBLEMS: Final = 500  # the newest ones, of which it is drawn


@dataclass(frozen=True, slots=True)
class Learning:
    """Curves by name, and what a round's time and problems were."""

    rounds: list[int]
    curves: dict[str, list[float | None]]
    by_task: dict[str, list[float | None]]  # own reward
    tokens: list[float | None]  # sampled in a round, over its own problems' rollouts: the mean length
    phases: dict[str, float]  # wall seconds in all, by phase of a round
    difficulty: list[int]  # problems by share right at the first tries: BINS of equal width from 0 to 1
    problems: int  # of these in all


def learning_of(rounds: Sequence[RoundEvent], problems: Sequence[ProblemEvent]) -> Learning:
    parts = stretches(rounds)
    tasks = sorted({task for event in rounds for task in event.rewards_by_task})
    newest = problems[-PROBLEMS:]
    return Learning(
        rounds=[part[-1].round for part in parts],
        curves={name: [_mean(part, figure) for part in parts] for name, figure in FIGURES.items()},
        by_task={task: [_mean(part, _task_reward(task)) for part in parts] for task in tasks},
        tokens=_lengths(parts, problems),
        phases=phase_seconds(rounds),
        difficulty=difficulty_of(newest),
        problems=len(newest),
    )


def difficulty_of(problems: Sequence[ProblemEvent]) -> list[int]:
    """How many problems fall into each of BINS by the share of their first tries that was right."""
    bins = [0] * BINS
    for problem in problems:
        share = problem.correct / problem.rollouts if problem.rollouts else 0.0
        bins[min(BINS - 1, int(share * BINS))] += 1
    return bins


def _lengths(parts: Sequence[Sequence[RoundEvent]], problems: Sequence[ProblemEvent]) -> list[float | None]:
    """Completion tokens a rollout. A round's rollouts are those of the problems that it decided on."""
    sampled: dict[int, int] = {}
    for problem in problems:
        sampled[problem.round] = sampled.get(problem.round, 0) + problem.sampled

    def length(event: RoundEvent) -> float | None:
        return event.tokens / sampled[event.round] if sampled.get(event.round) else None

    return [_mean(part, length) for part in parts]


def _mean(stretch: Sequence[RoundEvent], figure: Figure) -> float | None:
    known = [value for event in stretch if (value := figure(event)) is not None and math.isfinite(value)]
    return statistics.fmean(known) if known else None


def _task_reward(task: str) -> Figure:
    return lambda event: event.rewards_by_task.get(task)


def _equal_share(event: RoundEvent) -> float | None:
    """Of the own groups decided on, those not trained on: all rewards equal, so that no advantage is left."""
    dropped = sum(event.dropped.values())
    return _share(dropped, event.trained_local)


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None
