"""One cell: a policy trained on one ladder by one arm, looked at on held-out problems of the last level."""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from node.bench.curriculum.cases import Arm, Plan, config_of
from node.bench.kit.report import Progress
from node.bench.kit.trained_node import RoundClock, build_lockstep_node, next_round
from node.runtime.loop import Node, score
from policies.policy import sample_groups
from policies.seeds import derive_seed
from policies.tasks.task import HELD_OUT_SEED
from swarm.transport.silo import SiloTransport

ANSWERS = 2  # to each held-out problem


@dataclass(frozen=True, slots=True)
class Look:
    """The held-out reward of the last level after so many own rollouts, of all levels."""

    rollouts: int
    reward: float


@dataclass(frozen=True, slots=True)
class Cell:
    """What one arm came to on one ladder in one seed."""

    case: str
    name: str  # of the arm
    seed: int
    plan: Plan
    looks: list[Look]
    drawn: list[int]  # groups by level, easiest first
    rewards: list[float]  # mean of the own rollouts, by round
    cpu_seconds: float

    @property
    def arm(self) -> str:
        return f"{self.case} {self.name}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Cell:
        """Reads what `as_json` gave. Raises TypeError and KeyError on anything else."""
        return cls(
            **{**data, "plan": Plan(**data["plan"]), "looks": [Look(**look) for look in data["looks"]]}
        )


def play_cell(case: str, arm: Arm, seed: int, plan: Plan, progress: Progress) -> Cell:
    """Trains for the plan's rounds."""
    config = config_of(case, arm, seed, plan)
    with tempfile.TemporaryDirectory() as folder:
        node = build_lockstep_node(
            config, Path(folder) / "run", "curriculum", lambda peer: SiloTransport(), RoundClock()
        )
        with closing(node.store):
            return _played(node, case, arm, seed, plan, progress)


def _played(node: Node, case: str, arm: Arm, seed: int, plan: Plan, progress: Progress) -> Cell:
    looks, drawn, rewards = [Look(0, _judged(node, plan))], Counter[str](), list[float]()
    rollouts, cpu = 0, 0.0
    for number in range(1, plan.rounds + 1):
        event = next_round(node)
        decided = node.store.problems(node.round)
        drawn.update(problem.task for problem in decided)
        rollouts += sum(problem.sampled for problem in decided)
        cpu += event.cpu_seconds
        rewards.append(event.reward)
        if number % plan.every == 0 or number == plan.rounds:
            looks.append(Look(rollouts, _judged(node, plan)))
            progress(
                f"{case}, {arm.name}, seed {seed}: round {number} of {plan.rounds}, own reward {event.reward:.3f}, "
                f"last level {looks[-1].reward:.3f}"
            )
    by_level = [drawn[task.name] for task in node.curriculum.tasks]
    return Cell(case, arm.name, seed, plan, looks, by_level, rewards, cpu)


def _judged(node: Node, plan: Plan) -> float:
    """The same problems and the same draws for every arm, seed and look."""
    last = node.curriculum.tasks[-1]
    problems = [last.problem(HELD_OUT_SEED + number) for number in range(plan.judged)]
    groups = sample_groups(node.policy, problems, ANSWERS, derive_seed(0, "judge"), held_out=True)
    return statistics.fmean(score(group, node.tasks).mean_reward for group in groups)
