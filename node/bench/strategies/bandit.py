"""A tabular world for allocation strategies: every problem is a softmax over its own answers, and one is right.

Problems share no parameters, so what differs between strategies here is allocation alone; effects of breadth, which
need shared weights, are absent by construction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from policies.strategies.dars import extra_rollouts

Floats: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]

RIGHT = 0  # the index of the right answer
# Keeps a drawn accuracy where a logit can hold it and learning can still be seen.
ACCURACY_RANGE = (1e-4, 0.98)


@dataclass(frozen=True, slots=True)
class BanditWorld:
    """How many problems there are and how hard they start: accuracy ~ Beta(alpha, beta), mostly hard."""

    problems: int = 512
    answers: int = 64
    alpha: float = 0.35
    beta: float = 0.9
    learning_rate: float = 4.0

    def logits(self, generator: np.random.Generator) -> Floats:
        """Shape (problems, answers); wrong answers start equally likely."""
        accuracy = generator.beta(self.alpha, self.beta, self.problems).clip(*ACCURACY_RANGE)
        logits = np.zeros((self.problems, self.answers))
        logits[:, RIGHT] = np.log(accuracy / (1 - accuracy) * (self.answers - 1))
        return logits


@dataclass(frozen=True, slots=True)
class Allocation:
    """How many rollouts a problem gets: `first` for each, then by DARS's schedule where there is one."""

    name: str
    first: int
    cap: int  # rollouts of one problem at most, both stages together
    schedule: Literal["equal", "hardness"] | None = None

    def extra(self) -> Counts:
        """Rollouts of the second stage by the number that were right in the first; shape (first + 1,)."""
        if self.schedule is None:
            return np.zeros(self.first + 1, dtype=np.int64)
        table = [extra_rollouts(k, self.first, self.cap, self.schedule) for k in range(self.first + 1)]
        return np.array(table, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class BanditState:
    """The policy after some steps, and what it has cost."""

    logits: Floats  # (problems, answers)
    steps: int
    rollouts: int

    @property
    def pass_1(self) -> float:
        return float(softmax(self.logits)[:, RIGHT].mean())

    @property
    def pass_128(self) -> float:
        """Exactly: the expected share of problems that 128 more rollouts would solve."""
        return float((1 - (1 - softmax(self.logits)[:, RIGHT]) ** 128).mean())


def training(
    world: BanditWorld, allocation: Allocation, generator: np.random.Generator
) -> Iterator[BanditState]:
    """The states from the start on, one a step, without end."""
    extra = allocation.extra()
    state = BanditState(world.logits(generator), 0, 0)
    while True:
        yield state
        probabilities = softmax(state.logits)
        counts = sample(probabilities, allocation.first, extra, generator)
        logits = state.logits + world.learning_rate * ascent(counts)
        state = BanditState(logits, state.steps + 1, state.rollouts + int(counts.sum()))


def sample(probabilities: Floats, first: int, extra: Counts, generator: np.random.Generator) -> Counts:
    """How often each answer came up in both stages together; shape (problems, answers)."""
    counts: Counts = generator.multinomial(first, probabilities)
    return counts + generator.multinomial(extra[counts[:, RIGHT]], probabilities)


def ascent(counts: Counts) -> Floats:
    """The gradient of the mean of advantage * log p over the trained rollouts, times the number of problems.

    Advantage: reward minus the mean of the merged group. Groups all right or all wrong are dropped and do not
    count in the mean; times the number of problems, since each moves only by its own rollouts.
    """
    rollouts = counts.sum(1, keepdims=True)
    accuracy = counts[:, [RIGHT]] / rollouts
    usable = (accuracy > 0) & (accuracy < 1)
    rewards = np.zeros(counts.shape[1])
    rewards[RIGHT] = 1
    # Advantages of a group sum to 0, so the softmax's own term, minus p times their sum, is 0 and is left out.
    pushed = np.where(usable, counts * (rewards - accuracy), 0.0)
    per_problem: Floats = len(counts) * pushed / max(1, rollouts[usable].sum())
    return per_problem


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
