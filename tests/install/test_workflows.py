"""The workflows run what a laptop runs: their make targets exist, and every step is pinned to a version."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the extra dev")

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def read(path: Path) -> dict[Any, Any]:
    parsed = yaml.safe_load(path.read_text())
    assert isinstance(parsed, dict)
    return parsed


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_runs_make_targets_that_exist_and_files_that_are_here(path: Path) -> None:
    commands = "\n".join(step.get("run", "") for step in steps(path))
    named = re.findall(r"^make ([\w-]+)", commands, re.MULTILINE)
    assert named and set(named) <= TARGETS
    assert all((ROOT / script).is_file() for script in re.findall(r"^bash (\S+)", commands, re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_asks_for_no_more_than_it_needs_and_ends(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["runs-on"] == "ubuntu-latest"
        assert "timeout-minutes" in job or not any("run" in s and "make" in s["run"] for s in job["steps"]), (
            name
        )
        assert set(job.get("needs", "").split()) <= set(workflow["jobs"])
    assert [s["uses"] for s in steps(path) if "uses" in s and not re.search(r"@v\d+", s["uses"])] == []
    assert [s for s in steps(path) if len({"run", "uses"} & set(s)) != 1] == []


def test_pythons_of_the_matrix_are_those_of_the_project() -> None:
    matrix = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["locked"]["strategy"]["matrix"]["python"]
    named = re.findall(r"Python :: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text())
    assert matrix == named


def test_issue_forms_ask_for_something() -> None:
    forms = [read(path) for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))]
    forms = [form for form in forms if "body" in form]
    assert len(forms) == 2
    for form in forms:
        assert form["name"] and form["description"]
        asked = [part for part in form["body"] if part["type"] != "markdown"]
        assert any(part.get("validations", {}).get("required") for part in asked)
