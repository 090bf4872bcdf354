"""DARS: how many further rollouts a problem gets (arXiv 2508.13755)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.strategies.dars import extra_rollouts

Schedule = Literal["equal", "hardness"]
SCHEDULES: tuple[Schedule, ...] = ("equal", "hardness")
UNBOUNDED = 10**9


@pytest.mark.parametrize(
    ("schedule", "cap", "extra"),
    [
        ("equal", 32, [24, 11, 3, 1, 0, 0, 0, 0, 0]),
        ("equal", 64, [27, 11, 3, 1, 0, 0, 0, 0, 0]),
        ("hardness", 32, [24, 24, 8, 3, 0, 0, 0, 0, 0]),
        ("hardness", 64, [56, 24, 8, 3, 0, 0, 0, 0, 0]),
    ],
)
def test_the_table_of_the_published_code(schedule: Schedule, cap: int, extra: list[int]) -> None:
    assert [extra_rollouts(k, 8, cap, schedule) for k in range(9)] == extra


def test_rollouts_a_problem_agree_with_the_paper() -> None:
    # Uniform accuracy makes every k equally likely. The paper's equal treatment takes 12.8 in place of 32.
    mean = sum(8 + extra_rollouts(k, 8, 32, "equal") for k in range(9)) / 9
    assert mean == pytest.approx(12.8, abs=0.5)


@given(st.integers(2, 64), st.data())
def test_unbounded_totals_are_the_closed_forms(rollouts: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(1, rollouts))
    u = Fraction(correct, rollouts)
    even = u >= Fraction(1, 2)
    equal = 0 if even else math.ceil(rollouts / (4 * u * (1 - u))) - rollouts
    hardness = 0 if even else math.ceil(rollouts / (2 * u)) - rollouts
    assert extra_rollouts(correct, rollouts, UNBOUNDED, "equal") == equal
    assert extra_rollouts(correct, rollouts, UNBOUNDED, "hardness") == hardness


@given(st.integers(2, 40), st.sampled_from(SCHEDULES), st.booleans(), st.data())
def test_the_total_is_the_least_that_reaches_the_target(
    rollouts: int, schedule: Schedule, scaled: bool, data: st.DataObject
) -> None:
    """Squared where S(u) is a square root, so that the comparison is exact."""
    correct = data.draw(st.integers(1, (rollouts - 1) // 2) if rollouts > 2 else st.just(1))
    u = Fraction(correct, rollouts)
    if u >= Fraction(1, 2):
        return
    peak = rollouts if scaled else Fraction(rollouts, 2)
    target = peak if schedule == "equal" else 2 * (1 - u) * peak
    total = rollouts + extra_rollouts(correct, rollouts, UNBOUNDED, schedule, scale_by_std=scaled)

    def reaches(count: int) -> bool:
        if scaled:
            return count * count * 4 * u * (1 - u) >= target * target
        return count * 2 * u * (1 - u) >= target

    assert reaches(total) and not reaches(total - 1)


@given(st.integers(2, 64), st.integers(0, 512), st.booleans())
def test_harder_problems_never_get_less(rollouts: int, room: int, scaled: bool) -> None:
    cap = rollouts + room
    equal, hardness = (
        [extra_rollouts(k, rollouts, cap, schedule, scale_by_std=scaled) for k in range(rollouts + 1)]
        for schedule in SCHEDULES
    )
    for extra in (equal, hardness):
        assert extra == sorted(extra, reverse=True)
        assert max(extra) <= room
        assert not any(extra[(rollouts + 1) // 2 :])
    assert all(more >= less for more, less in zip(hardness, equal, strict=True))


def test_nothing_right_counts_as_half_a_right_one() -> None:
    assert extra_rollouts(0, 16, 512, "hardness") == 256 - 16
    assert extra_rollouts(0, 16, UNBOUNDED, "equal") == math.ceil(Fraction(16 * 32 * 32, 4 * 31)) - 16


def test_no_more_than_the_cap_even_when_stage_one_is_over_it() -> None:
    assert extra_rollouts(0, 16, 8, "equal") == 0


@pytest.mark.parametrize(("correct", "rollouts"), [(-1, 8), (9, 8), (0, 0)])
def test_impossible_counts_are_refused(correct: int, rollouts: int) -> None:
    with pytest.raises(ValueError, match="cannot be correct"):
        extra_rollouts(correct, rollouts, 32, "equal")


def test_a_single_rollout_of_stage_one_is_a_count_like_any_other() -> None:
    assert extra_rollouts(1, 1, 8, "equal") == 0
