"""Advantages over a whole batch."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.advantage import batch_normalised, focal

BATCHES = st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=16), min_size=1, max_size=8)


def test_figures_by_hand() -> None:
    # Centred: +-1/2 and +-1/4; the mean square is (1/4 + 1/16) / 2, so the deviation is sqrt(5/32).
    assert batch_normalised([[1, 0], [0.5, 0]]) == (
        pytest.approx((1.264911, -1.264911)),
        pytest.approx((0.632456, -0.632456)),
    )


@given(BATCHES)
def test_every_group_sums_to_zero_and_the_batch_has_unit_deviation(batch: list[list[float]]) -> None:
    advantages = batch_normalised(batch)
    assert [sum(group) for group in advantages] == pytest.approx([0] * len(batch), abs=1e-8)
    centred = [reward - statistics.fmean(group) for group in batch for reward in group]
    if statistics.pstdev(centred) > 1e-3:
        assert statistics.pstdev([a for group in advantages for a in group]) == pytest.approx(1)


def test_a_batch_without_signal_teaches_nothing() -> None:
    assert batch_normalised([]) == ()
    assert batch_normalised([[0.1] * 3, [0.7] * 3]) == ((0.0,) * 3, (0.0,) * 3)
    assert batch_normalised([[0.1] * 3, [1.0, 0.0]])[0] == (0.0,) * 3


def test_the_focal_weight_spares_hard_problems() -> None:
    assert focal([0.5, -0.5], 0.0, 2.0) == (0.5, -0.5)
    assert focal([0.5, -0.5], 0.5, 2.0) == (0.125, -0.125)
    assert focal([0.5, -0.5], 0.5, 0.0) == (0.5, -0.5)
