"""Which problems a node meets: drawn by weight over its tasks, each from a fresh seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.rollout import Problem
from policies.seeds import derive_generator
from policies.tasks.task import HELD_OUT_SEED, TRAIN_SEEDS, Task


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Pure in (seed, round): a resumed run meets the problems that an uninterrupted one would have met."""

    tasks: Sequence[Task]
    weights: Sequence[float]  # one a task, positive, any scale
    seed: int

    def draw(self, round_number: int, count: int) -> list[Problem]:
        """`count` training problems of one round, tasks drawn with replacement by weight."""
        generator = derive_generator(self.seed, "problems", round_number)
        share = [weight / sum(self.weights) for weight in self.weights]
        chosen = generator.choice(len(self.tasks), size=count, p=share)
        seeds = generator.integers(0, TRAIN_SEEDS, size=count)
        return [self.tasks[task].problem(int(seed)) for task, seed in zip(chosen, seeds, strict=True)]

    def held_out(self, per_task: int) -> list[Problem]:
        """The same evaluation problems for every node and round; their seeds never travel."""
        return [task.problem(HELD_OUT_SEED + i) for task in self.tasks for i in range(per_task)]
