"""One cell of `murmur bench sapo`: a population trained in one arm from one seed, played by the real loop."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from node.bench.kit.report import Progress
from node.bench.kit.trained_node import NOT_SCORED, HeldOutScore, RoundClock, judge, next_round
from node.bench.sapo.arms import ROLLOUTS, Arm
from node.bench.sapo.population import PopulationPlan, populate
from node.runtime.loop import Node
from node.storage.events import ProblemEvent, RoundEvent

PROGRESS_LINES = 10  # progress lines a cell


@dataclass(slots=True)
class NodeCourse:
    """One node's run. Lists have one entry a round."""

    end: HeldOutScore
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
    plan: PopulationPlan
    nodes: list[NodeCourse]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Cell:
        """Reads what `as_json` gave. Raises TypeError and KeyError on anything else."""
        nodes = [NodeCourse(**{**node, "end": HeldOutScore(**node["end"])}) for node in data["nodes"]]
        return cls(data["arm"], data["seed"], PopulationPlan(**data["plan"]), nodes)


def play_cell(arm: Arm, seed: int, plan: PopulationPlan, progress: Progress) -> Cell:
    """Trains the population for the plan's rounds, all nodes in one process, one after the other."""
    clock = RoundClock()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        nodes = populate(arm, seed, plan, Path(folder), clock, stack)
        courses = [NodeCourse(NOT_SCORED) for _ in nodes]
        for number in range(1, plan.rounds + 1 if arm.trains else 1):
            for place, (node, course) in enumerate(zip(nodes, courses, strict=True)):
                _play(node, course) if number % plan.pace_of(place) == 0 else course.rest()
            _exchange(nodes, courses)
            clock.advance()
            if number % max(1, plan.rounds // PROGRESS_LINES) == 0:
                own = statistics.fmean(course.rewards[-1] for course in courses)
                progress(f"seed {seed}: {arm.name}, round {number} of {plan.rounds}, own reward {own:.3f}")
        for node, course in zip(nodes, courses, strict=True):
            course.end = judge(node, ROLLOUTS, ROLLOUTS)
    return Cell(arm.name, seed, plan, courses)


def _play(node: Node, course: NodeCourse) -> None:
    """One round of one node. The update's own groups are read back from the node's store."""
    event = next_round(node)
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


def _exchange(nodes: Sequence[Node], courses: Sequence[NodeCourse]) -> None:
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
