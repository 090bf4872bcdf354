"""`murmur bench sapo`: arms against each other seed by seed, and the learning rate of each, on made-up cells."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from node.bench.kit.report import interval
from node.bench.kit.trained_node import HeldOutScore
from node.bench.sapo.arms import SPLITS, Arm, arms_of
from node.bench.sapo.cell import Cell, NodeCourse
from node.bench.sapo.compare import best_task, checks, comparison_rows, gains
from node.bench.sapo.measures import cumulative, cumulative_within, pairs
from node.bench.sapo.population import LEARNING_RATE, PopulationPlan
from node.bench.sapo.rates import candidates, choice_rows, chosen

PLAN = PopulationPlan(nodes=2, rounds=3, policy="embedded")
ARMS = arms_of(SPLITS)
SILO_ARM = ARMS[0]


def a_cell(
    arm: str, rewards: Sequence[float], *, seed: int = 0, cpu: float = 1.0, tokens: int = 10, **end: float
) -> Cell:
    """Two nodes that do the same."""
    by_task = {f"{task}@3": share for task, share in end.items()} or {"sort@3": 0.1, "shift@3": 0.1}
    mean = sum(by_task.values()) / len(by_task)

    def node() -> NodeCourse:
        costs = [cpu] * len(rewards), [tokens] * len(rewards)
        return NodeCourse(HeldOutScore(mean, mean, by_task), list(rewards), list(rewards), *costs)

    return Cell(arm, seed, PLAN, [node(), node()])


SILO = a_cell("8/0", [0.1, 0.1, 0.2], sort=0.2, shift=0.2)
SHARING = a_cell("4/4", [0.1, 0.3, 0.6], cpu=2.0, tokens=5, sort=0.3, shift=0.9)


def test_gains_compare_with_the_other_arm_of_the_same_seed() -> None:
    assert cumulative(SILO) == pytest.approx(0.8)
    assert gains([SILO, SHARING], "4/4", "8/0", "equal_rounds") == [pytest.approx(2.0 / 0.8 - 1.0)]
    elsewhere = a_cell("4/4", [9.0, 9.0, 9.0], seed=1)
    assert len(gains([SILO, SHARING, elsewhere], "4/4", "8/0", "equal_rounds")) == 1
    assert gains([SILO, SHARING], "4/4", "8/0", "judged") == [pytest.approx(0.4)]


def test_equal_costs_count_the_rounds_that_they_buy() -> None:
    # The silo took 6 s in all; the sharing arm plays 4 s a round: one round, and half of the second.
    assert cumulative_within(SHARING, 6.0, "cpu") == pytest.approx(0.2 + 0.6 / 2)
    assert cumulative_within(SILO, 6.0, "cpu") == pytest.approx(0.8)
    assert gains([SILO, SHARING], "4/4", "8/0", "equal_cpu") == [pytest.approx(0.5 / 0.8 - 1.0)]
    # Of tokens the sharing arm took 30 in all, for which the silo plays a round and a half.
    assert gains([SILO, SHARING], "4/4", "8/0", "equal_tokens") == [pytest.approx(2.0 / 0.3 - 1.0)]


def test_the_task_that_is_left_out_is_the_one_with_the_largest_lead() -> None:
    assert best_task(pairs([SILO, SHARING], "4/4", "8/0")) == "shift"
    assert gains([SILO, SHARING], "4/4", "8/0", "judged_but_best") == [pytest.approx(0.1)]
    alone = [a_cell("8/0", [0.1], sort=0.1), a_cell("4/4", [0.2], sort=0.3)]
    assert gains(alone, "4/4", "8/0", "judged_but_best") == []


def test_an_interval_is_students_over_seeds_and_open_from_one() -> None:
    assert interval("x", [0.5]) == {"x": 0.5, "x_low": None, "x_high": None}
    assert interval("x", []) == {"x": None, "x_low": None, "x_high": None}
    three = interval("x", [1.0, 2.0, 3.0])
    # 4.303 standard errors at two degrees of freedom.
    assert three["x_high"] == pytest.approx(2.0 + 4.3027 / 3**0.5, abs=1e-3)
    assert three["x_low"] == pytest.approx(2.0 - 4.3027 / 3**0.5, abs=1e-3)


def test_every_sharing_arm_meets_every_silo_and_every_arm_the_published_one() -> None:
    resampled, positive = a_cell("8/0 resampled", [0.3, 0.4, 0.5]), a_cell("4/4 positive", [0.2, 0.5, 0.8])
    table = comparison_rows([SILO, SHARING, resampled, positive], ARMS, "8/0")
    assert [(row["compared"], row["with"]) for row in table] == [
        ("4/4", "8/0"),
        ("8/0 resampled", "8/0"),
        ("4/4 positive", "8/0"),
        ("4/4", "8/0 resampled"),
        ("4/4 positive", "8/0 resampled"),
    ]
    assert table[0]["pairs"] == 1 and table[0]["best_task"] == "shift"


def test_the_best_sharing_arm_is_held_to_the_silo_that_it_leads_least() -> None:
    strong = a_cell("8/0 resampled", [0.4, 0.5, 0.6], cpu=9.0, tokens=90, sort=0.2, shift=0.2)
    found = {check.name: check for check in checks([SILO, SHARING, strong], ARMS, "8/0")}
    assert list(found) == [
        "uplift_4_4",
        "best_equal_rounds",
        "best_equal_tokens",
        "best_equal_cpu",
        "best_judged",
    ]
    assert found["uplift_4_4"].holds and found["uplift_4_4"].floor == 0.94
    assert found["best_equal_rounds"].ours == pytest.approx(2.0 / 3.0 - 1.0)
    assert not found["best_equal_rounds"].holds
    assert found["best_equal_cpu"].ours == pytest.approx(0.5 / 0.8 - 1.0)  # against the cheap silo
    assert found["best_judged"].holds
    assert checks([SILO], ARMS, "8/0") == []


def test_the_rate_of_an_arm_is_that_of_the_largest_own_reward() -> None:
    rates = (2 * LEARNING_RATE, LEARNING_RATE)
    usual, twice = candidates(SILO_ARM, rates)
    assert usual == SILO_ARM and twice.key == "8/0 at 0.0006" and twice.name == "8/0"
    better, worse = [0.2, 0.2, 0.2], [0.1, 0.1, 0.1]
    for at_usual, at_twice, taken in [(worse, better, twice), (better, worse, usual), (worse, worse, usual)]:
        cells = {arm.key: a_cell(arm.key, line) for arm, line in [(usual, at_usual), (twice, at_twice)]}
        assert chosen(SILO_ARM, rates, cells) == taken
        assert [row["chosen"] for row in choice_rows([SILO_ARM], rates, cells)] == [
            taken == usual,
            taken == twice,
        ]
    assert chosen(SILO_ARM, rates, {"8/0": a_cell("8/0", better)}) == SILO_ARM
    assert chosen(SILO_ARM, (), {}) == SILO_ARM == Arm("8/0", 8, 0)
