"""One cell of `murmur bench sapo`: a population trained in one arm from one seed, played by the real loop."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from node.bench.kit.report import Progress
from node.bench.kit.scoring import pass_at
from node.bench.sapo.arms import ROLLOUTS, Arm
from node.bench.sapo.population import Plan, RoundClock, populate
from node.runtime.loop import Node, play_round, score
from node.storage.events import ProblemEvent, RoundEvent
from policies.policy import DivergedError, sample_groups
from policies.rollout import Group
from policies.seeds import derive_seed

JUDGED = 20  # held-out problems of each task, the same for all nodes, arms and seeds
TOLD = 10  # progress lines a cell


@dataclass(frozen=True, slots=True)
class Judged:
    """A policy's answers to the held-out problems, ROLLOUTS to each."""

    pass_1: float
    pass_k: float
    by_task: dict[str, float]  # pass@1


UNJUDGED = Judged(0.0, 0.0, {})


@dataclass(slots=True)
class Course:
    """One node's run. Lists have one entry a round."""

    end: Judged
    rewards: list[float] = field(default_factory=list)  # mean of the own rollouts
    by_task: list[dict[str, float]] = field(default_factory=list)  # the same by task, where one was drawn
    update_rewards: list[float] = field(
        default_factory=list
    )  # mean of the groups in the update, imported too
    cpu: list[float] = field(default_factory=list)  # seconds, exchange and verification included
    tokens: list[int] = field(default_factory=list)  # sampled
    generated: int = 0  # groups
    telling: int = 0  # groups of the updates that had a signal
    external: int = 0  # groups of peers in the updates
    missing: int = 0  # groups of peers that were wanted and not there

    def rest(self) -> None:
        """A round that a slow node does not play: its policy is as good as it was, and nothing is spent."""
        for figures in (self.rewards, self.update_rewards):
            figures.append(figures[-1] if figures else 0.0)
        self.by_task.append({})
        self.cpu.append(0.0)
        self.tokens.append(0)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one arm came to in one seed."""

    arm: str
    seed: int
    plan: Plan
    nodes: list[Course]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Cell:
        """Reads what `as_json` gave. Raises TypeError and KeyError on anything else."""
        nodes = [Course(**{**node, "end": Judged(**node["end"])}) for node in data["nodes"]]
        return cls(data["arm"], data["seed"], Plan(**data["plan"]), nodes)


def play_cell(arm: Arm, seed: int, plan: Plan, progress: Progress) -> Cell:
    """Trains the population for the plan's rounds, all nodes in one process, one after the other."""
    clock = RoundClock()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        nodes = populate(arm, seed, plan, Path(folder), clock, stack)
        courses = [Course(UNJUDGED) for _ in nodes]
        for number in range(1, plan.rounds + 1 if arm.trains else 1):
            for place, (node, course) in enumerate(zip(nodes, courses, strict=True)):
                _play(node, course) if number % plan.pace_of(place) == 0 else course.rest()
            _exchange(nodes, courses)
            clock.advance()
            if number % max(1, plan.rounds // TOLD) == 0:
                own = statistics.fmean(course.rewards[-1] for course in courses)
                progress(f"seed {seed}: {arm.name}, round {number} of {plan.rounds}, own reward {own:.3f}")
        for node, course in zip(nodes, courses, strict=True):
            course.end = judge(node)
    return Cell(arm.name, seed, plan, courses)


def judge(node: Node) -> Judged:
    """Answers the held-out problems, drawn alike for every node, arm and seed."""
    problems = node.curriculum.held_out(JUDGED)
    sampled = sample_groups(node.policy, problems, ROLLOUTS, derive_seed(0, "judge"), held_out=True)
    groups = [score(group, node.tasks) for group in sampled]
    by_task: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        by_task[group.problem.task].append(pass_at(1, group))
    return Judged(
        _mean_pass(1, groups),
        _mean_pass(ROLLOUTS, groups),
        {task: statistics.fmean(passes) for task, passes in sorted(by_task.items())},
    )


def _play(node: Node, course: Course) -> None:
    """One round of one node. The update's own groups are read back from the node's store."""
    node.round += 1
    event = play_round(node)
    if event.diverged:
        raise DivergedError(event.diverged)
    decided = node.store.problems(node.round)
    course.rewards.append(event.reward)
    course.by_task.append(event.rewards_by_task)
    course.update_rewards.append(_update_reward(event, decided))
    course.cpu.append(event.cpu_seconds)
    course.tokens.append(event.tokens)
    course.generated += len(decided)
    course.telling += sum(p.dropped is None and 0 < p.correct < p.rollouts for p in decided)
    course.telling += event.trained_external
    course.external += event.trained_external
    course.missing += event.missing_external


def _exchange(nodes: Sequence[Node], courses: Sequence[Course]) -> None:
    """All publish, and then all collect what was published; each pays for its own."""
    for _ in range(2):
        for node, course in zip(nodes, courses, strict=True):
            before = time.process_time()
            node.gossip.step()
            course.cpu[-1] += time.process_time() - before


def _update_reward(event: RoundEvent, decided: Sequence[ProblemEvent]) -> float:
    """Mean reward of the groups that the update was given; 0 without any."""
    rewards = [problem.reward for problem in decided if problem.dropped is None]
    rewards += [event.external_reward or 0.0] * event.trained_external
    return statistics.fmean(rewards) if rewards else 0.0


def _mean_pass(k: int, groups: Sequence[Group]) -> float:
    return statistics.fmean(pass_at(k, group) for group in groups)
