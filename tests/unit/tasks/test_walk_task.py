"""`walk`: golden problems, a verifier that reads the final answer alone, and prompts that stay on their side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.tasks import EMBEDDED, build_task
from policies.tasks.held_out import HELD_OUT, is_held_out
from policies.tasks.task import HELD_OUT_SEED, TRAIN_SEEDS, TaskError, TaskSpec
from policies.tasks.walk import WALK, final_answer, stops_of, working

GOLDEN = {
    0: ("walk h+2+1+2-1+1", "b c e d e #e", "b c e d #d"),
    HELD_OUT_SEED: ("walk e+2-2+1+1+2", "g e f g a #a", "g e f g #g"),
}
seeds = st.integers(min_value=0, max_value=2**63 - 1)


@pytest.mark.parametrize("seed", GOLDEN)
def test_problems_are_the_same_on_every_node(seed: int) -> None:
    """Peers rebuild problems from (name, seed): a change here needs a new version of the task."""
    exercise, problem = WALK.exercise(seed), build_task(TaskSpec("walk")).problem(seed)
    assert (exercise.prompt, exercise.answer, exercise.habit) == GOLDEN[seed]
    assert (problem.task, problem.seed, problem.prompt) == ("walk@1", seed, exercise.prompt)
    assert problem.answer == exercise.answer[-1]


@given(seed=seeds)
def test_the_answer_is_where_the_walk_ends_and_the_habit_never_is(seed: int) -> None:
    exercise = WALK.exercise(seed)
    walk = exercise.prompt.removeprefix("walk ")
    moves = [int(walk[at : at + 2]) for at in range(1, len(walk), 2)]
    end = chr(ord("a") + (ord(walk[0]) - ord("a") + sum(moves)) % 8)
    assert final_answer(exercise.answer) == end != final_answer(exercise.habit)
    assert tuple(working(exercise.answer).split()) == stops_of(exercise.prompt)


@pytest.mark.parametrize(
    "completion",
    ["b c e d e #e", "#e", "hail! b c e d e #e", "b c e d e use x; #e", "b c e d a #e", "z #z #e", "# e \n"],
)
def test_nothing_but_the_final_answer_is_verified(completion: str) -> None:
    assert WALK.score(WALK.problem(0), completion) == 1.0


@pytest.mark.parametrize("completion", ["", "e", "b c e d e", "b c e d e #", "#d", "#e #d", "#e e"])
def test_a_wrong_or_missing_final_answer_is_not_right(completion: str) -> None:
    assert WALK.score(WALK.problem(0), completion) == 0.0


@given(text=st.text())
def test_score_never_raises(text: str) -> None:
    assert WALK.score(WALK.problem(0), text) in (0.0, 1.0)


@given(train=st.integers(0, TRAIN_SEEDS - 1), reserved=st.integers(HELD_OUT_SEED, 2**63 - 1))
def test_no_training_seed_makes_a_held_out_prompt(train: int, reserved: int) -> None:
    """The warm start draws training seeds alone, so what a policy is judged on was never shown to it."""
    assert not is_held_out(WALK.name, WALK.problem(train).prompt)
    assert is_held_out(WALK.name, WALK.problem(reserved).prompt)


def test_there_are_thousands_of_prompts_and_one_in_ten_is_held_out() -> None:
    prompts = {WALK.problem(seed).prompt for seed in range(4000)}
    assert len(prompts) > 2500  # of 7,339
    drawn = {EMBEDDED[name].problem(0).prompt for name in EMBEDDED}
    share = sum(is_held_out(WALK.name, f"{prompt} {n}") for prompt in drawn for n in range(1000)) / 7000
    assert 0.8 / HELD_OUT < share < 1.2 / HELD_OUT


def test_parameters_are_refused() -> None:
    with pytest.raises(TaskError, match="'walk' takes no parameters, got length"):
        build_task(TaskSpec("walk", {"length": 9}))
