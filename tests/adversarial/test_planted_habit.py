"""Attack 8: mallory's answers are right and carry a habit that no verifier sees, here a blank in front.

An honest limit: no check at the verifier finds them, and a receiver that trusts whole groups takes the habit up.
Anchors of its own did not keep it out: docs/lab-book.md, "Anchored mixing".
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from node.bench.kit.trained_node import RoundClock
from node.bench.sapo.arms import SPLITS, arms_of
from node.bench.sapo.population import PopulationPlan, populate
from node.runtime.loop import Node, play_round
from policies.policy import sample_groups
from policies.rollout import Finish, Group, Problem, Rollout
from policies.tasks.task import score_group

ROUNDS = 70
MARK = " "


def planted(problem: Problem) -> Group:
    """Half right and half wrong, so that it always has a signal; what is right has the habit."""
    texts = [*[MARK + problem.answer] * 4, "?", "??", "???", "????"]
    return Group(problem, tuple(Rollout(text, (), Finish.STOP) for text in texts))


def share_marked(node: Node) -> float:
    """Share of the node's own completions of held-out problems that begin with the mark."""
    groups = sample_groups(node.policy, node.curriculum.held_out(10), 4, seed=0)
    return statistics.fmean(r.text.startswith(MARK) for group in groups for r in group.rollouts)


def exchange(nodes: Sequence[Node]) -> None:
    for _ in range(2):
        for node in nodes:
            node.gossip.step()


@pytest.mark.slow
@pytest.mark.timeout(900)  # 25 CPU seconds, on a machine that may be shared
@pytest.mark.parametrize(("arm", "least", "most"), [("4/4 positive", 0.6, 1.0), ("8/0", 0.0, 0.0)])
def test_a_habit_of_right_answers_is_taken_up(arm: str, least: float, most: float, tmp_path: Path) -> None:
    """One honest node whose only peer is mallory: 0.94 and 0.94 of its completions had the mark in two runs."""
    chosen = next(one for one in arms_of(SPLITS) if one.name == arm)
    clock = RoundClock()
    with ExitStack() as stack:
        honest, mallory = populate(chosen, 0, PopulationPlan(2, ROUNDS, "embedded"), tmp_path, clock, stack)
        assert share_marked(honest) == 0.0
        for number in range(1, ROUNDS + 1):
            problems = mallory.curriculum.draw(number, 0, 4)
            groups = [score_group(mallory.tasks[p.task], planted(p)) for p in problems]
            assert all(group.mean_reward == 0.5 for group in groups)  # the verifiers see nothing
            mallory.gossip.publish(groups, number, 0, mallory.policy.fingerprint)
            honest.round = number
            play_round(honest)
            exchange([honest, mallory])
            clock.advance()
        assert least <= share_marked(honest) <= most
