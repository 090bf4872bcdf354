"""Rules about the tree itself: names nobody else installs, budgets on size."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("policies", "swarm", "node")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

TESTS = sorted((ROOT / "tests").rglob("*.py"))

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MEDIAN_FILE_LINES = 120
MAX_MODULES = 12  # in one folder of swarm and node, entry points apart
MAX_README_BYTES = 6_000
MAX_TOP_MODULES = 8  # of swarm itself
ENTRY_POINTS = {"__init__.py", "__main__.py"}
QUESTION_WORDS = {"How", "What", "Which", "Where", "Why", "Who", "Whom", "Whose", "When", "Whether"}


def test_no_dependency_installs_a_package_named_like_ours() -> None:
    owners = importlib.metadata.packages_distributions()
    others = {name: set(owners.get(name, [])) - {"murmuration"} for name in PACKAGES}
    assert not any(others.values()), others


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_fit_in_a_glance(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    nodes = ast.walk(ast.parse(text))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > MAX_FUNCTION_LINES]
    assert long == []


def test_module_docstrings_begin_with_their_subject() -> None:
    """The first line says which thing the module is, or what it does; it never asks."""
    first = {path: (ast.get_docstring(ast.parse(path.read_text())) or "").split(" ")[0] for path in SOURCES}
    assert [str(path.relative_to(ROOT)) for path, word in first.items() if word in QUESTION_WORDS] == []
    silent = [path for path, word in first.items() if not word and path.name not in ENTRY_POINTS]
    assert [str(path.relative_to(ROOT)) for path in silent] == []


def test_rooms_stay_small() -> None:
    modules = [path for path in SOURCES if path.name not in ENTRY_POINTS]
    rooms = Counter(path.parent.relative_to(ROOT) for path in modules if "policies" not in path.parts)
    assert {room: n for room, n in rooms.items() if n > MAX_MODULES} == {}
    assert rooms[Path("swarm")] <= MAX_TOP_MODULES
    assert statistics.median(len(path.read_text().splitlines()) for path in modules) <= MEDIAN_FILE_LINES


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_folders_import_each_other(package: str) -> None:
    assert _cycles(_folder_imports(package)) == []


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) <= MAX_README_BYTES
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_a_folder_cycle_is_found() -> None:
    assert _cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def _folder_imports(package: str) -> dict[str, set[str]]:
    """The folders that each folder of the package imports from, imports inside functions included."""
    folders = {
        ".".join(path.relative_to(ROOT).parent.parts)
        for path in SOURCES
        if path.parts[len(ROOT.parts)] == package
    }
    arrows: dict[str, set[str]] = defaultdict(set)
    for path in (path for path in SOURCES if path.parts[len(ROOT.parts)] == package):
        here = ".".join(path.relative_to(ROOT).parent.parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (module := node.module):
                names = [f"{module}.{alias.name}" for alias in node.names]
                for target in (_folder_of(name, folders) for name in names):
                    if target not in (None, here):
                        arrows[here].add(str(target))
    return arrows


def _folder_of(name: str, folders: set[str]) -> str | None:
    """The folder that holds what an import names: the longest known one at the start of the name."""
    parts = name.split(".")
    starts = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((start for start in starts if start in folders), None)


def _cycles(arrows: Mapping[str, set[str]]) -> list[str]:
    """Folders from which imports lead back to themselves."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = set(arrows.get(start, ()))
        while waiting:
            folder = waiting.pop()
            seen.add(folder)
            waiting |= arrows.get(folder, set()) - seen
        return seen

    return sorted(folder for folder in arrows if folder in reached(folder))
