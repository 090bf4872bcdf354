"""DARS through the seam: two stages, one mean, a budget."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from scored import STEP, group, of, open_group, problem

from policies.policy import Stale, UpdateSpec
from policies.strategies.base import TRAIN, GroupDecision
from policies.strategies.dars import Dars
from policies.strategies.open_groups import OpenGroup
from policies.strategies.settings import BreadthSettings, DarsSettings

DARS = Dars(DarsSettings())


def test_stage_one_comes_first_and_stage_two_when_all_of_it_is_scored() -> None:
    groups = [
        OpenGroup(3, 0, problem(0)),
        open_group([*of(0, 7), None], index=1),
        open_group(of(0, 8), index=2),
        open_group(of(3, 8), index=3),
        open_group(of(4, 8), index=4),
    ]
    assert DARS.demand(STEP, groups) == [8, 0, 56, 3, 0]


def test_there_is_one_second_stage_whatever_it_found() -> None:
    assert DARS.demand(STEP, [open_group(of(0, 64), first=8), open_group(of(0, 9), first=8)]) == [0, 0]


def test_difficulty_is_that_of_stage_one_alone() -> None:
    both = open_group([*of(1, 8), *of(20, 24)], first=8)
    assert both.difficulty(1.0).rate == Fraction(1, 8)
    assert open_group([0.25] * 6 + [1.0] * 2).difficulty(0.25).rate == 1


def test_partial_credit_counts_from_the_threshold_on() -> None:
    half = open_group([0.5] * 4 + [0.0] * 4)
    assert DARS.demand(STEP, [half]) == [56]
    assert DARS.demand(replace(STEP, correct_reward=0.5), [half]) == [0]


def test_both_stages_share_one_mean_and_their_order_is_immaterial() -> None:
    update = DARS.update(STEP, [group(*of(1, 8), *of(5, 24)), group(*of(5, 24), *of(1, 8))])
    one, other = (train.advantages for train in update.batch)
    assert one == (*other[24:], *other[:24])
    assert one[0] == pytest.approx(1 - 6 / 32) and sum(one) == pytest.approx(0, abs=1e-12)


def test_groups_without_signal_are_dropped_with_the_reason() -> None:
    assert DARS.admit(STEP, group(*of(3, 8))) == TRAIN
    dropped = [DARS.admit(STEP, group(*of(k, 8))) for k in (0, 8)]
    assert [(a.decision, a.reason) for a in dropped] == [
        (GroupDecision.DROP, "all_wrong"),
        (GroupDecision.DROP, "all_right"),
    ]


def test_a_token_budget_serves_the_largest_gap_first() -> None:
    budgeted = Dars(DarsSettings(token_budget=1000))
    # k = 1, 3, 0 and 2 of 8 want 24, 3, 56 and 8 rollouts of 10 tokens.
    groups = [open_group(of(k, 8), index=k) for k in (1, 3, 0, 2)]
    assert budgeted.demand(replace(STEP, tokens=0), groups) == [24, 3, 56, 8]
    assert budgeted.demand(replace(STEP, tokens=320), groups) == [12, 0, 56, 0]
    assert budgeted.demand(replace(STEP, tokens=600), groups) == [0, 0, 40, 0]
    assert budgeted.demand(replace(STEP, tokens=2000), groups) == [0, 0, 0, 0]


def test_rollouts_underway_are_already_part_of_the_budget() -> None:
    budgeted = Dars(DarsSettings(token_budget=1000))
    groups = [open_group(of(0, 8)), open_group([0.0] + [None] * 50, first=51, index=1)]
    assert budgeted.demand(replace(STEP, tokens=200), groups) == [30, 0]


def test_a_budget_never_clips_stage_one() -> None:
    budgeted = Dars(DarsSettings(token_budget=1))
    groups = [OpenGroup(3, 0, problem(0)), open_group(of(0, 8), index=1)]
    assert budgeted.demand(replace(STEP, tokens=500), groups) == [8, 0]
    assert budgeted.demand(STEP, groups[:1]) == [8]


def test_breadth_is_full_batch_over_two_epochs() -> None:
    breadth = Dars(DarsSettings(breadth=BreadthSettings(constant_length=3072)))
    spec = breadth.update(STEP, [group(*of(1, 8))]).spec
    assert spec == UpdateSpec(2, 1.0, (0.2, 0.2), Stale.BEHAVIOUR, 3072)
    assert DARS.update(STEP, [group(*of(1, 8))]).spec == UpdateSpec()


def test_allotment_follows_the_scale_of_the_advantages() -> None:
    scaled = Dars(DarsSettings(scale_by_std=True))
    assert scaled.demand(STEP, [open_group(of(k, 8)) for k in range(4)]) == [23, 14, 6, 3]
    plain, divided = (s.update(STEP, [group(*of(2, 8))]).batch[0].advantages for s in (DARS, scaled))
    assert divided == pytest.approx([value / 0.46301 for value in plain], rel=1e-3)
