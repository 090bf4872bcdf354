"""`murmur tasks`: what is listed and shown, without the libraries that training needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from node.cli import app
from policies.install_hints import install_extras
from policies.tasks import TaskError, TaskSpec, build_task, known_tasks
from policies.tasks.task import HELD_OUT_SEED

run = CliRunner().invoke


def test_every_task_is_listed() -> None:
    pytest.importorskip("reasoning_gym")
    listed = json.loads(run(app, ["tasks", "--json"]).stdout)
    assert [task["name"] for task in listed["tasks"]] == list(known_tasks())
    assert listed["missing"] == {}
    lines = run(app, ["tasks"]).stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(known_tasks())]] == list(known_tasks())


def test_without_reasoning_gym_the_list_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    listed = json.loads(run(app, ["tasks", "--json"]).stdout)
    assert listed["missing"] == {"rg": install_extras("envs")}
    assert not any(task["name"].startswith("rg:") for task in listed["tasks"])
    assert install_extras("envs") in run(app, ["tasks"]).stdout


def test_problems_are_those_that_a_node_meets() -> None:
    task = build_task(TaskSpec("sort"))
    shown = json.loads(run(app, ["tasks", "show", "sort", "--seeds", "3:6", "--json"]).stdout)
    assert shown["task"] == "sort@3"
    expected = [task.problem(seed) for seed in (3, 4, 5)]
    assert [(p["seed"], p["prompt"], p["answer"]) for p in shown["problems"]] == [
        (problem.seed, problem.prompt, problem.answer) for problem in expected
    ]
    held = json.loads(run(app, ["tasks", "show", "sort", "--seeds", "3", "--held-out", "--json"]).stdout)
    assert [p["seed"] for p in held["problems"]] == [HELD_OUT_SEED + 3]


def test_a_person_reads_prompt_and_answer() -> None:
    told = run(app, ["tasks", "show", "reverse", "--seeds", "1"]).stdout
    problem = build_task(TaskSpec("reverse")).problem(1)
    assert problem.prompt in told and problem.answer in told and "reverse@3" in told


def test_parameters_are_those_of_a_config() -> None:
    pytest.importorskip("reasoning_gym")
    asked = [
        "tasks",
        "show",
        "rg:chain_sum",
        "--param",
        "max_terms=2",
        "--param",
        "max_digits=1",
        "--seeds",
        "7",
        "--json",
    ]
    shown = json.loads(run(app, asked).stdout)
    assert shown["task"] == build_task(TaskSpec("rg:chain_sum", {"max_terms": 2, "max_digits": 1})).name
    assert shown["problems"][0]["answer"] == "6"


@pytest.mark.parametrize("seeds", ["", "x", "3:3", "5:2", "-1:4", f"0:{2**31 + 1}", "1:2:3"])
def test_seeds_that_are_none_are_refused(seeds: str) -> None:
    told = run(app, ["tasks", "show", "sort", f"--seeds={seeds}"])
    assert told.exit_code == 2 and "START:END" in told.stderr


def test_a_parameter_without_a_value_is_refused() -> None:
    told = run(app, ["tasks", "show", "sort", "--param", "max_terms"])
    assert told.exit_code == 2 and "KEY=VALUE" in told.stderr


@pytest.mark.parametrize("name", ["zzqq", "lm", "", "grpo", "my-own-task"])
def test_a_name_that_is_near_none_is_answered_by_the_list(name: str) -> None:
    with pytest.raises(TaskError) as refused:
        build_task(TaskSpec(name))
    told = str(refused.value)
    assert "nearest" not in told and "`murmur tasks` lists all" in told and "sort, reverse" in told
    assert "own questions are called data:NAME, with their file in path" in told


@pytest.mark.parametrize(
    ("name", "near"), [("primes", "rg:count_primes"), ("Chain_Sum", "rg:chain_sum"), ("srot", "sort")]
)
def test_a_name_that_is_near_one_is_answered_by_it(name: str, near: str) -> None:
    with pytest.raises(TaskError, match=f"the nearest is '{near}'"):
        build_task(TaskSpec(name))


def test_nothing_heavy_is_loaded() -> None:
    program = (
        "import json, sys; from typer.testing import CliRunner; from node.cli import app; "
        "told = CliRunner().invoke(app, sys.argv[1:]); assert told.exit_code == 0, told; "
        "print(json.dumps([m for m in ('torch', 'transformers', 'trl', 'hivemind') if m in sys.modules]))"
    )
    for arguments in (["tasks"], ["tasks", "show", "add", "--seeds", "0:20", "--held-out"]):
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, check=True)
        assert json.loads(done.stdout) == []
