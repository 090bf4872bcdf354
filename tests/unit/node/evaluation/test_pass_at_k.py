"""pass@k against enumeration, and intervals that hold the truth as often as they say."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binomtest

from node.evaluation.statistics import estimate, pass_at_k


@pytest.mark.parametrize("rollouts", [1, 4, 7])
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(rollouts: int) -> None:
    for correct in range(rollouts + 1):
        marks = [True] * correct + [False] * (rollouts - correct)
        for k in range(1, rollouts + 1):
            draws = list(combinations(marks, k))
            assert pass_at_k(rollouts, correct, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("rollouts", "correct", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)])
def test_what_cannot_be_drawn_is_refused(rollouts: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(rollouts, correct, k)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for draw in range(200):
        values = {"a": rng.binomial(8, 0.3, size=40) / 8, "b": rng.binomial(8, 0.7, size=40) / 8}
        found = estimate({name: list(sample) for name, sample in values.items()}, seed=draw)
        assert found.value == pytest.approx(np.mean([sample.mean() for sample in values.values()]))
        held += found.low <= 0.5 <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_tasks_weigh_the_same_and_differ_without_widening_the_interval() -> None:
    """Resampled within tasks: that one is easy and the other hard is no uncertainty."""
    found = estimate({"easy": [1.0] * 30, "hard": [0.0] * 10})
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_values_get_the_exact_bound_and_no_certainty(value: float) -> None:
    found = estimate({"a": [value] * 12})
    exact = binomtest(int(12 * value), 12).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_no_difference_on_few_problems_is_not_called_none() -> None:
    found = estimate({"a": [0.0] * 8}, (-1.0, 1.0))
    assert found.low < -0.3 and found.high > 0.3 and not found.excludes_zero
    assert estimate({"a": [0.5, 0.25] * 10}, (-1.0, 1.0)).excludes_zero


def test_equal_inputs_give_equal_intervals() -> None:
    values = {"a": [0.0, 0.5, 1.0, 0.25, 0.75]}
    assert estimate(values) == estimate(values)
