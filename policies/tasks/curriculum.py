"""The problems that a node meets: drawn by weight over its tasks, each from a fresh seed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from policies.rollout import Problem
from policies.seeds import derive_generator
from policies.tasks.task import HELD_OUT_SEED, TRAIN_SEEDS, Task, TaskError

logger = logging.getLogger(__name__)

TRIES = 3  # seeds, of which one gives a problem


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Pure in (seed, round, place): a resumed run meets the problems that an uninterrupted one would have met."""

    tasks: Sequence[Task]
    weights: Sequence[float]  # one a task, positive, any scale
    seed: int

    def draw(self, round_number: int, first: int, count: int) -> list[Problem]:
        """Training problems `first` to `first + count - 1` of a round, tasks drawn with replacement by weight.

        Raises TaskError when a task makes no problem of several seeds.
        """
        return [self._problem(round_number, index) for index in range(first, first + count)]

    def held_out(self, per_task: int) -> list[Problem]:
        """The same evaluation problems for every node and round; their seeds never travel."""
        return [task.problem(HELD_OUT_SEED + i) for task in self.tasks for i in range(per_task)]

    def _problem(self, round_number: int, index: int) -> Problem:
        generator = derive_generator(self.seed, "problems", round_number, index)
        share = [weight / sum(self.weights) for weight in self.weights]
        task = self.tasks[generator.choice(len(self.tasks), p=share)]
        for _ in range(TRIES - 1):
            try:
                return task.problem(int(generator.integers(0, TRAIN_SEEDS)))
            except TaskError as error:  # of this seed alone: a first problem was made when the task was built
                logger.warning("another problem in its place: %s", error)
        return task.problem(int(generator.integers(0, TRAIN_SEEDS)))
