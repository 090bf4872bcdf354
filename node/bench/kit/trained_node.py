"""Rounds and held-out scores of a node that a benchmark trains."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass, field

from node.runtime.loop import Node, play_round, score
from node.storage.events import RoundEvent
from policies.policy import DivergedError, sample_groups
from policies.rollout import Group
from policies.seeds import derive_seed

JUDGED = 20  # held-out problems of each task, the same for all nodes, arms and seeds


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """A policy's answers to the held-out problems, as means over problems."""

    pass_1: float
    pass_k: float
    by_task: dict[str, float] = field(default_factory=dict)  # pass@1


NOT_SCORED = HeldOutScore(0.0, 0.0)


def next_round(node: Node) -> RoundEvent:
    """Plays one round more. Raises DivergedError: the figures of a policy that broke down mean nothing."""
    node.round += 1
    event = play_round(node)
    if event.diverged:
        raise DivergedError(event.diverged)
    return event


def judge(node: Node, answers: int = 8, k: int = 8) -> HeldOutScore:
    """Scores `answers` to each held-out problem, drawn alike for every node, arm and seed."""
    problems = node.curriculum.held_out(JUDGED)
    sampled = sample_groups(node.policy, problems, answers, derive_seed(0, "judge"), held_out=True)
    groups = [score(group, node.tasks) for group in sampled]
    by_task: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        by_task[group.problem.task].append(pass_at(1, group))
    return HeldOutScore(
        statistics.fmean(pass_at(1, group) for group in groups),
        statistics.fmean(pass_at(k, group) for group in groups),
        {task: statistics.fmean(passes) for task, passes in sorted(by_task.items())},
    )


def pass_at(k: int, group: Group) -> float:
    """Chance that one of k answers is right: the unbiased estimate of arXiv 2107.03374, eq. 1."""
    n, wrong = len(group.rollouts), sum(reward < 1.0 for reward in group.rewards)
    return 1.0 - math.comb(wrong, k) / math.comb(n, k)


def no_progress(what: str, done: int, total: int) -> None:
    """Takes a warm start's progress: it is made once, then read from the user's cache."""
