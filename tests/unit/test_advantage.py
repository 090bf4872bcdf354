"""Group-relative advantages against figures worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.advantage import group_relative, positive_part

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
def test_equal_rewards_teach_nothing(reward: float, count: int, scale: bool) -> None:
    assert group_relative([reward] * count, scale_by_std=scale) == pytest.approx((0.0,) * count, abs=1e-9)
