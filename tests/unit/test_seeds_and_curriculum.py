"""Derived randomness: stable, independent by purpose, and held-out seeds out of reach of training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from policies.rollout import Finish, Group, Problem, Rollout
from policies.seeds import derive_generator, derive_seed
from policies.tasks import build_task
from policies.tasks.curriculum import Curriculum
from policies.tasks.success_rates import SuccessRates
from policies.tasks.task import HELD_OUT_SEED, TRAIN_SEEDS, TaskSpec, TaskTimeoutError

TASKS = [build_task(TaskSpec("sort")), build_task(TaskSpec("reverse"))]


def test_derived_seed_is_golden() -> None:
    # A change of this figure changes every run: resumed runs would no longer go on as they began.
    assert derive_seed(0, "generate", 1) == derive_seed(0, "generate", 1)
    paths = [(0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (0, "a", "1"), (0, "a1"), (0, "a", 1, 1)]
    assert len({derive_seed(*path) for path in paths}) == len(paths)
    assert all(0 <= derive_seed(*path) < 2**63 for path in paths)


def test_generators_repeat() -> None:
    assert derive_generator(3, "x").integers(0, 10**9) == derive_generator(3, "x").integers(0, 10**9)


def test_curriculum_is_pure_in_the_round() -> None:
    curriculum = Curriculum(TASKS, [1.0, 1.0], seed=5)
    assert curriculum.draw(3, 0, 8) == curriculum.draw(3, 0, 5) + curriculum.draw(3, 5, 3)
    assert curriculum.draw(3, 0, 8) != curriculum.draw(4, 0, 8)
    assert len(set(curriculum.draw(3, 0, 8))) == 8


def test_curriculum_follows_weights_and_stays_in_training_seeds() -> None:
    problems = Curriculum(TASKS, [3.0, 1.0], seed=1).draw(1, 0, 4000)
    share = Counter(problem.task for problem in problems)[TASKS[0].name] / len(problems)
    assert abs(share - 0.75) < 0.03  # four standard errors
    assert all(0 <= problem.seed < TRAIN_SEEDS for problem in problems)


def test_held_out_problems_are_the_same_for_every_node() -> None:
    a, b = (Curriculum(TASKS, [1.0, 1.0], seed).held_out(5) for seed in (1, 2))
    assert a == b and len(a) == 10
    assert all(problem.seed >= HELD_OUT_SEED for problem in a)


@dataclass(frozen=True)
class Fussy:
    """Makes no problem of the seeds that `refused` takes for such."""

    refused: Callable[[int], bool]
    name: str = "fussy@1"

    def problem(self, seed: int) -> Problem:
        if self.refused(seed):
            raise TaskTimeoutError(f"problem {seed} takes too long")
        return Problem(self.name, seed, "?", "")

    def score(self, problem: Problem, completion: str) -> float:
        return 0.0


def test_a_seed_that_no_problem_is_made_of_is_passed_over() -> None:
    easy, fussy = (
        Curriculum([Fussy(refused)], [1.0], 5) for refused in (lambda s: False, lambda s: s % 40 == 0)
    )
    plain, chosen = (curriculum.draw(1, 0, 200) for curriculum in (easy, fussy))
    changed = [(a, b) for a, b in zip(plain, chosen, strict=True) if a != b]
    assert changed and all(a.seed % 40 == 0 and b.seed % 40 for a, b in changed)
    assert fussy.draw(1, 0, 200) == chosen


def test_a_task_that_makes_no_problem_says_so() -> None:
    with pytest.raises(TaskTimeoutError, match="takes too long"):
        Curriculum([Fussy(lambda seed: True)], [1.0], 5).draw(1, 0, 1)


@dataclass(frozen=True)
class Rows(Fussy):
    """Ten rows."""

    def row(self, seed: int) -> int:
        return seed % 10


def met(task: Rows, seed: int, reward: float) -> Group:
    return Group(task.problem(seed), (Rollout("", (), Finish.STOP, reward=reward),))


def test_an_adaptive_draw_prefers_what_is_neither_always_nor_never_solved() -> None:
    levels = [Rows(lambda seed: False, f"level{n}@1") for n in range(3)]
    rates = SuccessRates()
    adaptive = Curriculum(levels, [1.0, 1.0, 2.0], 5, rates=rates)
    even = Counter(problem.task for problem in adaptive.draw(1, 0, 2000))
    assert abs(even["level2@1"] - 1000) < 100, "what was never met is drawn by weight"
    for task, reward in zip(levels, (1.0, 0.5, 0.0), strict=True):
        rates.note([met(task, 0, reward)], {task.name: task})
    shares = Counter(problem.task for problem in adaptive.draw(1, 0, 2000))
    assert abs(shares["level1@1"] - 2000 * 1 / 1.6) < 100 and shares["level0@1"] > 150

    one = Curriculum(levels[:1], [1.0], 5, rates=rates)  # row 0 of it is always solved
    for row in range(1, 10):
        rates.note([met(levels[0], row, row / 10)], {levels[0].name: levels[0]})
    drawn = Counter(levels[0].row(problem.seed) for problem in one.draw(1, 0, 2000))
    assert 0 < drawn[0] < 90 and min(drawn[row] for row in range(1, 10)) > 150
    again = SuccessRates()
    again.restore(json.loads(json.dumps(rates.snapshot())))
    assert Curriculum(levels, [1.0, 1.0, 2.0], 5, rates=again).draw(9, 0, 50) == adaptive.draw(9, 0, 50)


def test_rates_move_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.tasks.success_rates.MAX_ROWS", 3)
    task, rates = Rows(lambda seed: False), SuccessRates()
    assert rates.of_task(task) == rates.of_seed(task, 0) == 1.0
    for seed in (0, 1, 2, 0, 3):
        rates.note([met(task, seed, 0.0)], {task.name: task})
    assert set(rates.rows) == {f"fussy@1 {row}" for row in (2, 0, 3)} and rates.of_seed(task, 0) < 1.0
    for _ in range(8):
        rates.note([met(task, 0, 0.8)], {task.name: task})
    assert rates.of_task(task) == rates.of_seed(task, 0) == 1.0
