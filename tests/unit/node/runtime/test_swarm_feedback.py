"""What a node has updated, and what follows: how places are split, and which unsolved problems it takes up."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from fakes import ALICE, BOB, MALLORY, Addition, group

from node.runtime.swarm_feedback import (
    MAX_UNSOLVED,
    MAX_UNSOLVED_OF_PEER,
    MEMORY,
    SwarmFeedback,
    UnsolvedProblem,
    adaptive_split,
    mean_positive_advantage,
    prioritised,
    task_reward_ema,
    updated,
)
from policies.rollout import Group
from swarm.admission.verdict import Outcome, Verdict

TASK = Addition.name


def solved(seed: int) -> Group:
    return group(seed, [f"it is {seed + 1}", f"that makes {seed + 1}"])


def hopeless(seed: int) -> Group:
    return group(seed, ["no idea", "none at all"])


def halved(seed: int) -> Group:
    """Rewards 1 and 0: advantages of a half."""
    return group(seed, [f"it is {seed + 1}", "no idea"])


def set_aside(peer: str, seed: int, reward: float = 0.0) -> Verdict:
    return Verdict(Outcome.SET_ASIDE, peer, TASK, seed, rollouts=8, mean_reward=reward)


def test_rates_follow_the_own_groups_and_forget() -> None:
    rates = task_reward_ema({}, [solved(1)])
    assert rates == {TASK: 1.0}
    assert task_reward_ema(rates, [hopeless(2)])[TASK] == pytest.approx(1.0 - 1.0 / MEMORY)
    assert task_reward_ema(rates, map(hopeless, range(60)))[TASK] < 0.001
    assert rates == {TASK: 1.0}  # as it was


def test_a_place_is_worth_what_it_gives_an_update_to_learn_from() -> None:
    assert mean_positive_advantage([halved(1)], 1) == pytest.approx(0.25)  # p (1 - p)
    assert mean_positive_advantage([halved(1), solved(2), hopeless(3)], 4) == pytest.approx(
        0.25 / 4
    )  # one place stayed empty
    assert mean_positive_advantage([], 4) == 0.0


def test_places_go_where_they_were_worth_more() -> None:
    assert adaptive_split(4, 4, SwarmFeedback(own=0.1, external=0.1)) == (4, 4)
    assert adaptive_split(4, 4, SwarmFeedback(own=0.05, external=0.15)) == (2, 6)
    assert adaptive_split(4, 4, SwarmFeedback(own=0.0, external=0.2)) == (
        1,
        7,
    )  # each keeps one, to be measured by
    assert adaptive_split(4, 4, SwarmFeedback(own=0.2, external=0.0)) == (7, 1)


@pytest.mark.parametrize(
    "feedback",
    [
        SwarmFeedback(),
        SwarmFeedback(own=0.1),
        SwarmFeedback(external=0.1),
        SwarmFeedback(own=0.0, external=0.0),
    ],
)
def test_the_split_is_as_given_while_nothing_speaks_for_another(feedback: SwarmFeedback) -> None:
    assert adaptive_split(5, 3, feedback) == (5, 3)


def test_a_silo_has_nothing_to_split() -> None:
    assert adaptive_split(8, 0, SwarmFeedback(own=0.0, external=0.5)) == (8, 0)


def test_a_round_moves_the_means_and_leaves_alone_what_it_did_not_see() -> None:
    first = updated(SwarmFeedback(), [halved(1)], [halved(2)], 2, ())
    assert (first.own, first.external) == (pytest.approx(0.25), pytest.approx(0.125))
    second = updated(first, [hopeless(1)], [], 0, ())
    assert second.own == pytest.approx(0.25 * (1 - 1 / MEMORY))
    assert second.external == first.external


def test_only_what_nobody_solved_is_unsolved_until_it_was_taken_up() -> None:
    accepted = replace(set_aside(ALICE, 3), outcome=Outcome.ACCEPTED)
    told = [set_aside(ALICE, 1), set_aside(ALICE, 2, reward=1.0), accepted]
    feedback = updated(SwarmFeedback(), [], [], 0, told)
    assert feedback.unsolved == (UnsolvedProblem(ALICE, TASK, 1),)
    assert updated(feedback, [hopeless(1)], [], 0, ()).unsolved == ()


def test_no_peer_decides_alone_what_others_work_on() -> None:
    flood = [set_aside(MALLORY, seed) for seed in range(1000)]
    feedback = updated(updated(SwarmFeedback(), [], [], 0, [set_aside(ALICE, 7777)]), [], [], 0, flood)
    counts = Counter(unsolved.peer for unsolved in feedback.unsolved)
    assert counts == {ALICE: 1, MALLORY: MAX_UNSOLVED_OF_PEER}
    many = [set_aside(f"peer-{peer}", seed) for peer in range(30) for seed in range(8 * peer, 8 * peer + 8)]
    assert len(updated(SwarmFeedback(), [], [], 0, many).unsolved) == MAX_UNSOLVED


def test_problems_of_tasks_that_the_node_is_good_at_come_first_as_a_rule() -> None:
    known, strange = UnsolvedProblem(ALICE, "known@1", 1), UnsolvedProblem(BOB, "strange@1", 2)
    feedback = SwarmFeedback(rates={"known@1": 0.8}, unsolved=(strange, known))
    first = Counter(prioritised(feedback, np.random.default_rng(seed))[0].task for seed in range(600))
    # Weights of 0.8 and 0.02; five standard deviations of Binomial(600, 0.976) are 19.
    assert abs(first["known@1"] - 600 * 0.8 / 0.82) < 19
    assert set(prioritised(feedback, np.random.default_rng(0))) == {known, strange}


def test_the_feedback_survives_its_checkpoint() -> None:
    feedback = SwarmFeedback({TASK: 0.5}, 0.1, None, (UnsolvedProblem(ALICE, TASK, 1),))
    assert SwarmFeedback.restored(json.loads(json.dumps(feedback.snapshot()))) == feedback
    assert SwarmFeedback.restored(None) == SwarmFeedback()
