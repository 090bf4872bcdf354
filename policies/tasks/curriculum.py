"""The problems that a node meets: drawn by weight over its tasks, each from a fresh seed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from policies.rollout import Group, Problem
from policies.seeds import derive_generator
from policies.tasks.success_rates import SuccessRates
from policies.tasks.task import HELD_OUT_SEED, TRAIN_SEEDS, Task, TaskError

logger = logging.getLogger(__name__)

TRIES = 3  # seeds, of which one gives a problem
MOST_SKIPPED = 50  # problems in a row that the policy does not take
ROW_TRIES = 8  # rows of which an adaptive draw takes the first that is worth it, or the last


def take_all(problem: Problem) -> bool:
    """The `takes` of a policy that takes every problem."""
    return True


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Pure in (seed, round, place) and in `rates`: a resumed run meets the problems that an unbroken one would."""

    tasks: Sequence[Task]
    weights: Sequence[float]  # one a task, positive, any scale
    seed: int
    takes: Callable[[Problem], bool] = take_all  # whether the policy's settings let a problem's prompt in
    rates: SuccessRates | None = None  # what an adaptive draw goes by; None: uniform
    # Draws that it did not take, by task: a count, no state.
    skipped: Counter[str] = field(default_factory=Counter)

    def draw(self, round_number: int, first: int, count: int) -> list[Problem]:
        """Training problems `first` to `first + count - 1` of a round, tasks drawn with replacement by weight.

        Raises TaskError when a task makes no problem of several seeds.
        """
        return [self._problem(round_number, index) for index in range(first, first + count)]

    def note(self, groups: Iterable[Group]) -> None:
        """Own scored groups of a round, for an adaptive draw of the rounds to come."""
        if self.rates is not None:
            self.rates.note(groups, {task.name: task for task in self.tasks})

    def held_out(self, per_task: int) -> list[Problem]:
        """The same evaluation problems for every node and round; their seeds never travel.

        Fewer where the policy does not take some.
        """
        made = (task.problem(HELD_OUT_SEED + i) for task in self.tasks for i in range(per_task))
        return [problem for problem in made if self.takes(problem)]

    def take_skipped(self) -> int:
        """How many problems were not taken since this was last asked."""
        count = self.skipped.total()
        self.skipped.clear()
        return count

    def _problem(self, round_number: int, index: int) -> Problem:
        generator = derive_generator(self.seed, "problems", round_number, index)
        share = self._shares()
        for _ in range(MOST_SKIPPED):
            task = self.tasks[generator.choice(len(self.tasks), p=share)]
            problem = self._chosen(task, generator)
            if self.takes(problem):
                return problem
            self.skipped[task.name] += 1
        raise TaskError(
            f"{MOST_SKIPPED} problems in a row are longer than policy.prompt.max_tokens, the last of {task.name}: "
            "raise it"
        )

    def _shares(self) -> list[float]:
        pairs = zip(self.tasks, self.weights, strict=True)
        worth = [weight * (self.rates.of_task(task) if self.rates else 1.0) for task, weight in pairs]
        return [weight / sum(worth) for weight in worth]

    def _chosen(self, task: Task, generator: np.random.Generator) -> Problem:
        problem = self._made(task, generator)
        if self.rates is None:
            return problem
        for _ in range(ROW_TRIES - 1):
            worth = self.rates.of_seed(task, problem.seed)
            if worth == 1.0 or generator.random() < worth:
                break
            problem = self._made(task, generator)
        return problem

    def _made(self, task: Task, generator: np.random.Generator) -> Problem:
        for _ in range(TRIES - 1):
            try:
                return task.problem(int(generator.integers(0, TRAIN_SEEDS)))
            except TaskError as error:  # of this seed alone: a first problem was made when the task was built
                logger.warning("another problem in its place: %s", error)
        return task.problem(int(generator.integers(0, TRAIN_SEEDS)))
