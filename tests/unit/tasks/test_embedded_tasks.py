"""The embedded families: golden problems, verification, and wrong habits that are really wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.tasks.embedded import FAMILIES, build_embedded_task
from policies.tasks.held_out import is_held_out
from policies.tasks.task import HELD_OUT_SEED, TaskError, TaskSpec

GOLDEN = {
    ("sort", 0): ("sort 170", "017"),
    ("sort", HELD_OUT_SEED): ("sort 741", "147"),
    ("reverse", 0): ("reverse gbe", "ebg"),
    ("reverse", HELD_OUT_SEED): ("reverse agh", "hga"),
    ("maximum", 0): ("max 9365", "9"),
    ("maximum", HELD_OUT_SEED): ("max 10", "1"),
    ("shift", 0): ("shift cfg", "dgh"),
    ("shift", HELD_OUT_SEED): ("shift fbgg", "gchh"),
    ("add", 0): ("add 63+7", "70"),
    ("add", HELD_OUT_SEED): ("add 79+8", "87"),
    ("binary", 0): ("binary 10023", "0100001011"),
    ("binary", HELD_OUT_SEED): ("binary 32311", "1110110101"),
}

families = pytest.mark.parametrize("family", FAMILIES)
seeds = st.integers(min_value=0, max_value=2**63 - 1)


@pytest.mark.parametrize(("family", "seed"), GOLDEN)
def test_problems_are_the_same_on_every_node(family: str, seed: int) -> None:
    """Peers rebuild problems from (name, seed): a change here needs a new version of the family."""
    problem = FAMILIES[family].problem(seed)
    assert (problem.prompt, problem.answer) == GOLDEN[family, seed]
    assert (problem.task, problem.seed) == (f"{family}@3", seed)


@families
def test_words_ask_for_the_same_answer_and_an_answer_in_a_sentence_counts(family: str) -> None:
    task = FAMILIES[family]
    for seed in range(20):
        problem, habit = task.problem(seed), task.exercise(seed).habit
        assert problem.prompt.split()[-1].split("+")[0] in problem.words
        for right in (
            problem.answer,
            f"The answer is {problem.answer}.",
            f"<answer>{problem.answer}</answer>",
        ):
            assert task.score(problem, right) == 1.0
        for wrong in (habit, f"The answer is {habit}.", f"{problem.answer} or {habit}", "", "9" * 100_000):
            assert task.score(problem, wrong) == 0.0


@families
@given(seed=seeds)
def test_habit_is_never_right(family: str, seed: int) -> None:
    exercise = FAMILIES[family].exercise(seed)
    assert exercise.habit != exercise.answer


@given(seed=seeds)
def test_answers_agree_with_an_independent_reading_of_the_prompt(seed: int) -> None:
    def given_in(family: str) -> tuple[str, str]:
        problem = FAMILIES[family].problem(seed)
        return problem.prompt.split(" ")[1], problem.answer

    shown, answer = given_in("sort")
    assert list(answer) == sorted(shown)
    shown, answer = given_in("reverse")
    assert answer == "".join(reversed(shown))
    shown, answer = given_in("maximum")
    assert int(answer) == max(map(int, shown))
    shown, answer = given_in("shift")
    assert [ord(new) - ord(old) for old, new in zip(shown, answer, strict=True)] == [1] * len(shown)
    shown, answer = given_in("add")
    assert int(answer) == sum(map(int, shown.split("+")))
    shown, answer = given_in("binary")
    assert int(answer, 2) == int(shown, 4) and len(answer) == 2 * len(shown)


@families
def test_score_takes_the_answer_and_nothing_else(family: str) -> None:
    task = FAMILIES[family]
    exercise, problem = task.exercise(3), task.problem(3)
    assert task.score(problem, exercise.answer) == 1.0
    assert task.score(problem, f" {exercise.answer}\n") == 1.0
    for wrong in ("", exercise.habit, exercise.answer * 2, f"{exercise.answer} {exercise.habit}"):
        assert task.score(problem, wrong) == 0.0


@given(text=st.text())
def test_score_never_raises(text: str) -> None:
    for task in FAMILIES.values():
        assert task.score(task.problem(0), text) in (0.0, 1.0)


@families
def test_no_training_seed_makes_a_prompt_that_a_policy_is_judged_by(family: str) -> None:
    task = FAMILIES[family]
    held_out, training = (
        {task.problem(first + offset).prompt for offset in range(4000)} for first in (HELD_OUT_SEED, 0)
    )
    assert not held_out & training
    assert len(held_out) >= 100 and len(training) >= 800  # `binary`, the smallest, has 1,232 prompts
    assert all(is_held_out(task.name, prompt) for prompt in held_out)


def test_parameters_are_refused() -> None:
    with pytest.raises(TaskError, match="'sort' takes no parameters, got length"):
        build_embedded_task(TaskSpec("sort", {"length": 9}))
