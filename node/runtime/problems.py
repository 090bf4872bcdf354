"""The problems of a round: the node's own draw, in which some give way to problems that peers could not solve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from node.runtime.swarm_feedback import SwarmFeedback, prioritised
from policies.rollout import Group, Problem
from policies.seeds import derive_generator
from policies.strategies.rollout_phase import DrawProblems
from policies.tasks.curriculum import Curriculum
from policies.tasks.task import DrawnTask, Task, TaskError


def problems_of(
    round_number: int,
    curriculum: Curriculum,
    tasks: Mapping[str, Task],
    feedback: SwarmFeedback,
    retry_share: float,
) -> DrawProblems:
    """A place gives way with the chance `retry_share`, as long as there are unsolved problems. Pure in its arguments.

    It is the second stage of DARS (arXiv 2508.13755) spread over a swarm: what one node found hard is tried again by
    nodes that are better at the task, and what they publish of it reaches the first like any group.
    """
    own = partial(curriculum.draw, round_number)
    if not retry_share:
        return own
    order = derive_generator(curriculum.seed, "retry_share", round_number)
    waiting = [unsolved for unsolved in prioritised(feedback, order) if unsolved.task in tasks]

    def draw(first: int, count: int) -> list[Problem]:
        problems = list(own(first, count))
        for place in range(first, min(first + count, len(waiting))):
            if derive_generator(curriculum.seed, "retry_share", round_number, place).random() < retry_share:
                with suppress(TaskError):  # a peer's seed; the own problem stays where it makes none in time
                    problems[place - first] = tasks[waiting[place].task].problem(waiting[place].seed)
        return problems

    return draw


def with_canonical_seeds(groups: Iterable[Group], tasks: Mapping[str, Task]) -> list[Group]:
    """The groups as peers take them: a problem is named by the seed whose first draw it is."""
    return [_with_canonical_seed(group, tasks[group.problem.task]) for group in groups]


def _with_canonical_seed(group: Group, task: Task) -> Group:
    if not isinstance(task, DrawnTask):
        return group
    return replace(group, problem=replace(group.problem, seed=task.canonical_seed(group.problem.seed)))
