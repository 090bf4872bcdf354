"""reasoning-gym tasks: own verifiers, refusals, and the sandbox round scorers that evaluate text."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import policies.tasks
from policies.install_hints import install_extras
from policies.tasks import TaskError, TaskSpec, build_task
from policies.tasks.gym import ALLOWED, IRREPRODUCIBLE, GymTask, build_gym_task
from policies.tasks.held_out import is_held_out
from policies.tasks.sandbox import SCORERS, SandboxScorer
from policies.tasks.task import HELD_OUT_SEED
from policies.tasks.verifiers.answer import SCANNED_CHARACTERS, ends_with_text, last_number_is
from policies.workers.pool import Worker

pytest.importorskip("reasoning_gym")


def test_problem_is_the_library_s_and_named_with_its_version() -> None:
    task = build_task(TaskSpec("rg:chain_sum", {"max_terms": 2, "max_digits": 1}))
    problem = task.problem(7)
    assert problem.task == task.name == "rg:chain_sum@0.1.25-2#24268eb7"
    assert problem.prompt == "State the final answer to the following arithmetic problem: 6 + 0 ="
    assert problem.answer == "6"
    assert build_task(TaskSpec("rg:gcd")).name == "rg:gcd@0.1.25-2"


def test_problems_do_not_depend_on_the_process() -> None:
    """Sets iterate in another order under another hash seed; a dataset that does so cannot be shared."""
    program = (
        "import json, sys; from policies.tasks import *; "
        "print(json.dumps([build_task(TaskSpec(name)).problem(5).prompt for name in sys.argv[1:]]))"
    )
    names = [f"rg:{name}" for name in sorted(ALLOWED)]
    root = Path(policies.tasks.__file__).parents[2]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, *names],
            env={"PYTHONHASHSEED": seed, "PATH": os.defpath, "OMP_NUM_THREADS": "1"},
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("dataset", sorted(ALLOWED))
def test_own_verifier_takes_the_library_s_answer_however_it_is_wrapped(dataset: str) -> None:
    task = build_gym_task(TaskSpec(f"rg:{dataset}"))
    for seed in (1, 2):
        problem = task.problem(seed)
        for completion in (
            problem.answer,
            f"Let me see, 7.\nIt is:\n{problem.answer}\n",
            f"So <answer>{problem.answer}</answer>, I think.",
        ):
            assert task.score(problem, completion) == 1.0
        assert task.score(problem, "") == 0.0
        assert task.score(problem, f"{problem.answer}\nno, 31337.25") == 0.0


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        ("12", "12", True),
        ("2 + 10 = 12.", "12", True),
        ("12 is what 2 + 10 gives", "12", False),
        ("it costs $1,012", "1012", True),
        ("+012.50", "12.5", True),
        ("-12", "12", False),
        ("\u221212", "-12", True),
        ("10-12", "12", True),
        ("-0.0", "0", True),
        ("x12", "12", False),
        ("twelve", "12", False),
        ("9" * 100_000, "12", False),
        ("<answer>12</answer> 13", "12", True),
        ("<answer>12</answer><answer>13</answer>", "12", False),
    ],
)
def test_last_number(completion: str, answer: str, right: bool) -> None:
    assert last_number_is(completion, answer) is right


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        ("The day is **Friday**.", "Friday", True),
        ("friday", "Friday", True),
        ("Friday or Monday", "Friday", False),
        ("Goodfriday", "Friday", False),
        ("0 4 4", "4 4", False),
        ("here:\n4  4", "4 4", True),
        ("grid\n0 1\n1 0\n", "0 1\n1 0", True),
        ("1 0", "0 1\n1 0", False),
        ("", "Friday", False),
        ("anything", "", False),
        ("Friday" + " " * SCANNED_CHARACTERS, "Friday", False),
    ],
)
def test_text_at_the_end(completion: str, answer: str, right: bool) -> None:
    assert ends_with_text(completion, answer) is right


@given(completion=st.text(), answer=st.text())
def test_verifiers_never_raise(completion: str, answer: str) -> None:
    assert last_number_is(completion, answer) in (True, False)
    assert ends_with_text(completion, answer) in (True, False)


def test_a_completion_is_never_evaluated(tmp_path: Path) -> None:
    """binary_matrix is one of the four datasets whose library scorer evaluates the completion."""
    task = build_gym_task(TaskSpec("rg:binary_matrix"))
    target = tmp_path / "written"
    attack = f"<answer>open({str(target)!r}, 'w')</answer>"
    assert task.score(task.problem(0), attack) == 0.0
    assert not target.exists()


def test_no_source_of_the_tasks_evaluates_text() -> None:
    for file in Path(policies.tasks.__file__).parent.glob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        named = {call.id for call in calls if isinstance(call, ast.Name)}
        assert named.isdisjoint({"eval", "exec", "compile", "__import__"}), file.name
        if file.name != "sandbox_work.py":
            assert "score_answer" not in {call.attr for call in calls if isinstance(call, ast.Attribute)}


@pytest.fixture(scope="module")
def queens() -> GymTask:
    return build_gym_task(TaskSpec("rg:n_queens", {"sandbox": True}))


def test_sandbox_scores_as_the_library_does(queens: GymTask) -> None:
    problem = queens.problem(3)
    assert queens.score(problem, f"<answer>{problem.answer}</answer>") == 1.0


@pytest.mark.parametrize(
    "attack",
    [
        "open({target!r}, 'w')",
        "__import__('os').system('touch {target}')",
    ],
)
def test_sandboxed_text_cannot_reach_out(queens: GymTask, tmp_path: Path, attack: str) -> None:
    target = tmp_path / "written"
    tmp_path.chmod(0o777)
    assert queens.score(queens.problem(3), attack.format(target=str(target))) == 0.0
    assert not target.exists()


def test_sandbox_inherits_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack scores 1.0 only if it reads the secret: string_insertion joins what `eval` gives."""
    task = build_gym_task(TaskSpec("rg:string_insertion", {"sandbox": True}))
    problem = task.problem(0)
    monkeypatch.setenv("SECRET", problem.answer)
    assert task.score(problem, "__import__('os').environ['SECRET']") == 0.0


def test_sandbox_is_killed_at_its_deadline(tmp_path: Path) -> None:
    scorer = SandboxScorer("n_queens", {}, Worker(SCORERS.work, flags=("-I",), cpu_seconds=1.0, bare=True))
    assert scorer.score(3, "sum(range(10**13))") is None  # on a busy machine a right answer may end so


def test_sandbox_takes_only_a_finite_number_for_a_score(queens: GymTask) -> None:
    attack = "__import__('os').write(1, b'inf') and __import__('os')._exit(0)"
    assert queens.score(queens.problem(3), attack) == 0.0


def test_refusals_say_what_to_do() -> None:
    for spec, message in (
        (TaskSpec("rg:chain_sun"), "no dataset 'chain_sun'; the nearest is rg:chain_sum"),
        (TaskSpec("rg:n_queens"), "set sandbox = true"),
        (TaskSpec("rg:chain_sum", {"max_term": 2}), "no parameter 'max_term'; the nearest is 'max_terms'"),
        (TaskSpec("rg:chain_sum", {"seed": 2}), "no parameter 'seed'"),
        (TaskSpec("rg:chain_sum", {"min_terms": 0}), "refuses its parameters: min_terms must be positive"),
        (TaskSpec("rg:ransom_note", {"sandbox": True}), "peers cannot rebuild"),
    ):
        with pytest.raises(TaskError, match=message):
            build_task(spec)


def test_irreproducible_datasets_are_not_allowed() -> None:
    assert IRREPRODUCIBLE.isdisjoint(ALLOWED)


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(TaskError, match=re.escape(install_extras("envs"))):
        build_task(TaskSpec("rg:chain_sum"))


@pytest.mark.parametrize("dataset", ["chain_sum", "gcd", "leg_counting"])
def test_what_a_policy_is_judged_by_is_made_of_no_training_seed(dataset: str) -> None:
    task = build_gym_task(TaskSpec(f"rg:{dataset}"))
    held_out, training = (
        {task.problem(first + offset).prompt for offset in range(25)} for first in (HELD_OUT_SEED, 0)
    )
    assert all(is_held_out(task.name, prompt) for prompt in held_out)
    assert not any(is_held_out(task.name, prompt) for prompt in training)


def test_a_dataset_of_too_few_problems_is_refused_before_a_run() -> None:
    with pytest.raises(TaskError, match="too few different prompts"):
        build_gym_task(
            TaskSpec("rg:chain_sum", {"min_terms": 1, "max_terms": 1, "min_digits": 1, "max_digits": 1})
        )
