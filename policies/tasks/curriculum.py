"""The problems that a node meets: drawn by weight over its tasks, each from a fresh seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.rollout import Problem
from policies.seeds import derive_generator
from policies.tasks.task import HELD_OUT_SEED, TRAIN_SEEDS, Task


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Pure in (seed, round, place): a resumed run meets the problems that an uninterrupted one would have met."""

    tasks: Sequence[Task]
    weights: Sequence[float]  # one a task, positive, any scale
    seed: int

    def draw(self, round_number: int, first: int, count: int) -> list[Problem]:
        """Training problems `first` to `first + count - 1` of a round, tasks drawn with replacement by weight."""
        return [self._problem(round_number, index) for index in range(first, first + count)]

    def held_out(self, per_task: int) -> list[Problem]:
        """The same evaluation problems for every node and round; their seeds never travel."""
        return [task.problem(HELD_OUT_SEED + i) for task in self.tasks for i in range(per_task)]

    def _problem(self, round_number: int, index: int) -> Problem:
        generator = derive_generator(self.seed, "problems", round_number, index)
        share = [weight / sum(self.weights) for weight in self.weights]
        task = self.tasks[generator.choice(len(self.tasks), p=share)]
        return task.problem(int(generator.integers(0, TRAIN_SEEDS)))
