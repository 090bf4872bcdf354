"""The max-variance subset against every subset there is."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import group, of

from policies.strategies.pods import down_sampled, max_variance_subset


def variance(values: list[float]) -> Fraction:
    exact = [Fraction(value) for value in values]
    return sum((x * x for x in exact), Fraction(0)) / len(exact) - (sum(exact) / len(exact)) ** 2


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.data())
def test_no_subset_varies_more(rewards: list[float], data: st.DataObject) -> None:
    keep = data.draw(st.integers(1, len(rewards)))
    chosen = max_variance_subset(rewards, keep)
    best = max(variance(list(subset)) for subset in combinations(rewards, keep))
    assert variance([rewards[i] for i in chosen]) == best
    assert len(chosen) == keep and sorted(set(chosen)) == list(chosen)


@given(st.integers(1, 32), st.integers(1, 32), st.integers(1, 8))
def test_binary_rewards_split_in_halves_as_far_as_there_are_enough(right: int, wrong: int, half: int) -> None:
    keep = min(2 * half, right + wrong)
    kept = [of(right, right + wrong)[i] for i in max_variance_subset(of(right, right + wrong), keep)]
    if min(right, wrong) >= half:
        assert sum(kept) == keep / 2
    assert min(sum(kept), keep - sum(kept)) == min(right, wrong, keep // 2)


@pytest.mark.parametrize("keep", [0, 3])
def test_what_cannot_be_kept_is_refused(keep: int) -> None:
    with pytest.raises(ValueError, match="cannot keep"):
        max_variance_subset([0.0, 1.0], keep)


def test_a_down_sampled_group_keeps_problem_origin_and_order() -> None:
    whole = group(0.0, 0.5, 1.0, 0.25, seed=9, origin="12D3Alice")
    kept = down_sampled(whole, 2)
    assert (kept.problem, kept.origin, kept.rewards) == (whole.problem, "12D3Alice", (0.0, 1.0))
    assert down_sampled(whole, 4) is whole
