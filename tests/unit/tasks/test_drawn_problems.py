"""Problems that are drawn until they are on their side: one name for each, and no draw that was made already."""

from __future__ import annotations

from typing import Any

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


class Emptied(dict[int, Any]):
    """Another thread makes room right after whatever is kept."""

    def __setitem__(self, seed: int, value: Any) -> None:
        super().__setitem__(seed, value)
        self.clear()


def test_a_thread_that_makes_room_takes_nothing_from_another() -> None:
    problems = DrawnProblems(TASK, Draws(), Emptied(), Emptied())
    for fits in True, False:
        seed = seed_that(fits=fits)
        assert problems.problem(seed).prompt == problems.first_draw(problems.canonical_seed(seed)).prompt
