"""Group-relative advantages against figures worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.advantage import batch_normalised, group_relative, positive_part

REWARDS = st.lists(st.floats(0, 1), min_size=2, max_size=64)


def test_figures_by_hand() -> None:
    assert group_relative([1, 0, 0, 0]) == (0.75, -0.25, -0.25, -0.25)
    assert group_relative([1, 0], scale_by_std=True) == pytest.approx(
        (0.5 / (0.5**0.5 + 1e-4), -0.5 / (0.5**0.5 + 1e-4))
    )
    assert positive_part(group_relative([1, 0, 0, 0])) == (0.75, 0.0, 0.0, 0.0)


@given(REWARDS, st.booleans())
def test_sum_is_zero_and_order_is_kept(rewards: list[float], scale: bool) -> None:
    advantages = group_relative(rewards, scale_by_std=scale)
    assert sum(advantages) == pytest.approx(0, abs=1e-8)
    ranked = [advantage for _, advantage in sorted(zip(rewards, advantages, strict=True))]
    assert ranked == sorted(ranked)


@given(st.floats(0, 1), st.integers(1, 64), st.booleans())
def test_advantages_of_equal_rewards_are_exactly_zero(reward: float, count: int, scale: bool) -> None:
    assert group_relative([reward] * count, scale_by_std=scale) == (0.0,) * count


@pytest.mark.parametrize("scale", [False, True])
def test_rewards_that_differ_by_rounding_are_equal(scale: bool) -> None:
    sums = [0.1 + 0.2, 0.3, 0.6 / 2, sum([0.1] * 3)]
    assert len(set(sums)) > 1 and group_relative(sums, scale_by_std=scale) == (0.0,) * 4
    assert group_relative([1e-12, 2e-12]) == pytest.approx((-5e-13, 5e-13))  # small, but not equal


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("others", [[], [0.5], [0.5, 1.0]])
def test_rewards_that_are_not_finite_are_refused(wrong: float, others: list[float]) -> None:
    for rewards in ([wrong, *others], [*others, wrong], [wrong, wrong, *others]):
        with pytest.raises(ValueError, match="finite"):
            group_relative(rewards)
        with pytest.raises(ValueError, match="finite"):
            batch_normalised([[0.0, 1.0], rewards])
