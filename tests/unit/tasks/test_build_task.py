"""Tasks by name: every known name builds, typos name the nearest, and importing stays cheap."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from policies.tasks import TaskError, TaskSpec, build_task, known_tasks


def test_embedded_families_are_built_by_name() -> None:
    for name in ("sort", "reverse", "maximum", "shift", "add", "binary"):
        assert name in known_tasks()
        assert build_task(TaskSpec(name)).name == f"{name}@3"


def test_known_tasks_name_the_gym_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    assert "rg:chain_sum" in known_tasks()


@pytest.mark.parametrize(
    ("typo", "nearest"), [("sorted", "sort"), ("maximun", "maximum"), ("chain_sum", "rg:chain_sum")]
)
def test_a_typo_names_the_nearest_task(typo: str, nearest: str) -> None:
    with pytest.raises(TaskError, match=f"no task is called '{typo}'; the nearest is '{nearest}'"):
        build_task(TaskSpec(typo))


def test_import_is_light() -> None:
    """The swarm's process imports the tasks to verify records; torch would cost it seconds and memory."""
    program = (
        "import json, sys, policies.tasks; "
        "print(json.dumps([m for m in ('torch', 'transformers', 'reasoning_gym') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stdout) == []
