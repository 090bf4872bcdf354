"""The nouns guard their own shape."""

from __future__ import annotations

import math

import pytest

from policies.rollout import Finish, Group, Problem, Rollout, Segment, TrainGroup

PROBLEM = Problem("sort@1", 7, "sort 321", "123")


def test_tokens_and_logprobs_join_over_segments() -> None:
    rollout = Rollout("12", (Segment(0, (5, 6), (-1.0, -2.0)), Segment(3, (7,), (-0.5,))), Finish.STOP)
    assert rollout.token_ids == (5, 6, 7)
    assert rollout.logprobs == (-1.0, -2.0, -0.5)


def test_one_unknown_segment_makes_all_logprobs_unknown() -> None:
    rollout = Rollout("12", (Segment(0, (5,), (-1.0,)), Segment(1, (7,))), Finish.STOP)
    assert rollout.logprobs is None


def test_mismatched_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="1 log-probs for 2 tokens"):
        Segment(0, (1, 2), (-1.0,))
    with pytest.raises(ValueError, match="0 advantages for 1 rollouts"):
        TrainGroup(Group(PROBLEM, (Rollout("1", (Segment(0, (1,)),), Finish.STOP),)), ())


def test_group_rewards_need_scores() -> None:
    unscored = Rollout("1", (Segment(0, (1,)),), Finish.STOP)
    with pytest.raises(ValueError, match="unscored"):
        _ = Group(PROBLEM, (unscored.scored(1.0), unscored)).rewards
    group = Group(PROBLEM, (unscored.scored(1.0), unscored.scored(0.0)))
    assert group.mean_reward == 0.5 and not group.zero_advantage
    assert Group(PROBLEM, (unscored.scored(1.0),) * 2).zero_advantage


@pytest.mark.parametrize("advantages", [(math.nan, 0.0), (math.inf, -1.0)])
def test_an_advantage_that_is_not_finite_is_refused(advantages: tuple[float, float]) -> None:
    rollout = Rollout("1", (Segment(0, (1,)),), Finish.STOP)
    with pytest.raises(ValueError, match=r"sort@1 is not a finite number"):
        TrainGroup(Group(PROBLEM, (rollout, rollout)), advantages)


def test_what_rounding_left_of_an_advantage_is_zero() -> None:
    rollout = Rollout("1", (Segment(0, (1,)),), Finish.STOP)
    mean = sum([0.1] * 3) / 3
    dust = TrainGroup(Group(PROBLEM, (rollout,) * 3), (0.1 - mean,) * 3)
    assert 0.1 - mean != 0.0 and dust.advantages == (0.0,) * 3 and dust.zero_advantage
    assert not TrainGroup(Group(PROBLEM, (rollout,) * 2), (1e-9, 0.0)).zero_advantage


def test_answers_stay_out_of_representations() -> None:
    assert "123" not in repr(PROBLEM)
