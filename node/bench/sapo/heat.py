"""A heat of `murmur bench sapo`: arms of one seed, trained by the real loop in turns, round by round.

What else the machine does meanwhile falls on all arms alike, so that their CPU seconds can be compared. All nodes live
in one process and play one after the other; groups of peers are a round old when they are trained on.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from node.bench.kit.report import Progress
from node.bench.kit.trained_node import NOT_SCORED, RoundClock, judge, next_round
from node.bench.sapo.arms import ROLLOUTS, Arm
from node.bench.sapo.cell import Cell, NodeCourse
from node.bench.sapo.population import PopulationPlan, populate
from node.runtime.loop import Node
from node.storage.events import ProblemEvent, RoundEvent

PROGRESS_LINES = 10  # progress lines a heat


def play_heat(arms: Sequence[Arm], seed: int, plan: PopulationPlan, progress: Progress) -> list[Cell]:
    """Trains a population an arm for the plan's rounds. The first of a round is the last of the next one."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        entrants = [_Entrant.of(arm, seed, plan, Path(folder) / str(n), stack) for n, arm in enumerate(arms)]
        racing = [entrant for entrant in entrants if entrant.arm.trains]
        for number in range(1, plan.rounds + 1 if racing else 1):
            first = number % len(racing)
            for entrant in (*racing[first:], *racing[:first]):
                entrant.play(number)
            if number % max(1, plan.rounds // PROGRESS_LINES) == 0:
                rewards = ", ".join(f"{entrant.arm.key} {entrant.reward:.3f}" for entrant in racing)
                progress(f"seed {seed}, round {number} of {plan.rounds}, own reward: {rewards}")
        return [entrant.cell(seed) for entrant in entrants]


@dataclass(slots=True)
class _Entrant:
    """One arm's population while it trains, on a clock of its own."""

    arm: Arm
    plan: PopulationPlan
    nodes: list[Node]
    clock: RoundClock
    courses: list[NodeCourse] = field(default_factory=list)

    @classmethod
    def of(cls, arm: Arm, seed: int, plan: PopulationPlan, folder: Path, stack: ExitStack) -> _Entrant:
        clock = RoundClock()
        nodes = populate(arm, seed, plan, folder, clock, stack)
        return cls(arm, plan, nodes, clock, [NodeCourse(NOT_SCORED) for _ in nodes])

    @property
    def reward(self) -> float:
        """Of the own rollouts of the newest round, mean over nodes."""
        return statistics.fmean(course.rewards[-1] for course in self.courses)

    def play(self, number: int) -> None:
        """All play a round, and then exchange what they made."""
        for place, (node, course) in enumerate(zip(self.nodes, self.courses, strict=True)):
            _play(node, course) if number % self.plan.pace_of(place) == 0 else course.rest()
        _exchange(self.nodes, self.courses)
        self.clock.advance()

    def cell(self, seed: int) -> Cell:
        """What it came to; judged here, on problems that nobody trains on."""
        for node, course in zip(self.nodes, self.courses, strict=True):
            course.end = judge(node, ROLLOUTS, ROLLOUTS)
        return Cell(self.arm.key, seed, self.plan, self.courses)


def _play(node: Node, course: NodeCourse) -> None:
    """One round of one node. The update's own groups are read back from the node's store."""
    event = next_round(node)
    decided = node.store.problems(node.round)
    course.rewards.append(event.reward)
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
