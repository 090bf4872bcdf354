"""Problems that are drawn until they are on their side: one name for each, and no draw that was made already."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from policies.tasks.held_out import DrawnProblems, ReservedError, is_held_out
from policies.tasks.task import HELD_OUT_SEED, TaskTimeoutError

TASK = "drawn@1"


class Draws:
    """Counts what is drawn; one seed in so many takes longer than it may."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, seed: int, within: float | None = None) -> tuple[str, str]:
        self.made.append(seed)
        if within is not None:
            raise TaskTimeoutError("too long")
        return f"prompt {seed}", f"answer {seed}"


def seed_that(fits: bool) -> int:
    """A training seed whose first draw is on its side, or is not."""
    return next(seed for seed in range(1000) if is_held_out(TASK, f"prompt {seed}") != fits)


def test_a_problem_is_drawn_once() -> None:
    draws = Draws()
    problems = DrawnProblems(TASK, draws)
    seed = seed_that(fits=True)
    assert problems.problem(seed).prompt == f"prompt {seed}"
    assert problems.problem(seed) == problems.first_draw(seed)
    assert draws.made == [seed]


def test_a_seed_that_is_drawn_anew_has_a_settled_one_with_the_same_problem() -> None:
    problems = DrawnProblems(TASK, Draws())
    seed = seed_that(fits=False)
    canonical = problems.canonical_seed(seed)
    assert canonical != seed and problems.canonical_seed(canonical) == canonical
    assert problems.problem(seed).seed == seed
    assert problems.problem(seed).prompt == problems.first_draw(canonical).prompt
    with pytest.raises(ReservedError, match=f"first draw of seed {seed}"):
        problems.first_draw(seed)


def test_a_reserved_problem_s_first_draw_is_reserved() -> None:
    problems = DrawnProblems(TASK, Draws())
    canonical = problems.canonical_seed(HELD_OUT_SEED)
    assert is_held_out(TASK, problems.first_draw(canonical).prompt)
    other = next(s for s in range(HELD_OUT_SEED, HELD_OUT_SEED + 99) if not is_held_out(TASK, f"prompt {s}"))
    with pytest.raises(ReservedError):
        problems.first_draw(other)


def test_what_came_too_late_is_drawn_again() -> None:
    draws = Draws()
    problems = DrawnProblems(TASK, draws)
    seed = seed_that(fits=True)
    with pytest.raises(TaskTimeoutError):
        problems.first_draw(seed, 0.01)
    assert problems.first_draw(seed).answer == f"answer {seed}"
    assert draws.made == [seed, seed]
    assert problems.first_draw(seed, 0.01).answer == f"answer {seed}"  # it is known by now


def test_two_threads_that_make_room_for_each_other_miss_nothing() -> None:
    problems = DrawnProblems(TASK, Draws())
    seeds = [seed for seed in range(4000) if not is_held_out(TASK, f"prompt {seed}")]

    def played(first: int) -> bool:
        return all(problems.problem(seed).prompt == f"prompt {seed}" for seed in seeds[first::2])

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as threads:
            assert all(threads.map(played, (0, 1)))
    finally:
        sys.setswitchinterval(before)
