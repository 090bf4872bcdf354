"""Groups travel under the seed whose first draw is their problem, so that a peer rebuilds it at one draw."""

from __future__ import annotations

import pytest
from fakes import ALICE, NODE, SWARM, ManualClock, body, encode, offer

from node.runtime.problems import with_canonical_seeds
from policies.rollout import Finish, Group, Rollout, Segment
from policies.tasks import build_task
from policies.tasks.gym import GymTask, gym_installed
from policies.tasks.task import TaskSpec
from swarm.admission.refusal import Reason
from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.admission.verdict import Outcome

pytestmark = pytest.mark.skipif(not gym_installed(), reason="needs reasoning-gym")


def sampled(task: GymTask, seed: int) -> Group:
    problem = task.problem(seed)
    rollouts = tuple(
        Rollout(text, (Segment(0, encode(text, Finish.STOP)),), Finish.STOP, task.score(problem, text))
        for text in (problem.answer, "no")
    )
    return Group(problem, rollouts)


def test_a_problem_of_several_draws_reaches_a_peer_under_its_canonical_seed() -> None:
    task = build_task(TaskSpec("rg:gcd"))
    assert isinstance(task, GymTask)
    seed = next(seed for seed in range(200) if task.canonical_seed(seed) != seed)
    group = sampled(task, seed)
    [settled] = with_canonical_seeds([group], {task.name: task})
    assert settled.problem.prompt == group.problem.prompt and settled.problem.seed != seed
    door = RolloutVerifier(SWARM, NODE, {task.name: task}, encode, ManualClock())
    [(verdict, accepted)] = door.verify(*offer(body([settled], ALICE)))
    assert verdict.outcome is Outcome.ACCEPTED and accepted is not None
    assert accepted.problem.prompt == group.problem.prompt
    [(refused, _)] = door.verify(*offer(body([group], ALICE)))
    assert refused.reason is Reason.HELD_OUT
