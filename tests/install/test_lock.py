"""uv.lock is one that anybody can install from, and it is that of pyproject.toml as it stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from test_wheels import SOURCE_ONLY

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "uv.lock").read_text()
LOCK: dict[str, Any] = tomllib.loads(TEXT)
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS, OTHERS = (
    [p for p in LOCK["package"] if (p["source"] == {"editable": "."}) is ours] for ours in (True, False)
)


def plain(requirement: str) -> str:
    """`Name >=1,<2` and `name>=1,<2` are one requirement."""
    name, bounds = re.fullmatch(r"([\w.-]+)\s*(.*)", requirement).groups()  # type: ignore[union-attr]
    return f"{re.sub('[-_.]+', '-', name).lower()}{','.join(sorted(bounds.replace(' ', '').split(',')))}"


def test_every_package_comes_from_the_public_index() -> None:
    assert {str(p["source"]) for p in OTHERS} == {str({"registry": "https://pypi.org/simple"})}
    files = [f for p in OTHERS for f in [*p.get("wheels", []), *([p["sdist"]] if "sdist" in p else [])]]
    assert files and all(f["url"].startswith("https://files.pythonhosted.org/") for f in files)
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", f["hash"]) for f in files)


@pytest.mark.parametrize("trace", ["file:", "/opt/", "/root/", "/home/", "/tmp/", "+cpu", "+cu", 'path = "'])
def test_nothing_of_the_machine_that_made_it_is_in_it(trace: str) -> None:
    assert trace not in TEXT


def test_no_version_is_a_local_one() -> None:
    assert [p["name"] for p in OTHERS if "+" in p["version"]] == []


def test_it_locks_the_requirements_of_today() -> None:
    (ours,) = OURS
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(text for texts in extras.values() for text in texts)]
    locked = [d["name"] + d.get("specifier", "") for d in ours["metadata"]["requires-dist"]]
    assert sorted(map(plain, locked)) == sorted(map(plain, wanted)), "make lock"
    assert set(ours["metadata"]["provides-extras"]) == set(extras)
    assert plain("x" + LOCK["requires-python"]) == plain("x" + PROJECT["requires-python"])


def test_every_default_dependency_has_a_wheel_or_is_known_to_be_pure_python() -> None:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for package in OTHERS:
        by_name.setdefault(package["name"], []).append(package)
    (ours,) = OURS
    todo, seen = [d["name"] for d in ours["dependencies"]], set[str]()
    while todo:
        if (name := todo.pop()) not in seen:
            seen.add(name)
            todo += [d["name"] for package in by_name[name] for d in package.get("dependencies", [])]
    assert "torch" in seen and "libp2p" not in seen
    without = {name for name in seen if not all(p.get("wheels") for p in by_name[name])}
    assert without == {name.replace("_", "-") for name in SOURCE_ONLY}
