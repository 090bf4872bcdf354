"""Rules about the tree itself: names nobody else installs, nothing that executes data, budgets on size."""

from __future__ import annotations

import ast
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("policies", "swarm", "node")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
HARMLESS_NAMES = {"UnpicklingError"}  # what torch.load raises on files that are not its own
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def test_no_dependency_installs_a_package_named_like_ours() -> None:
    owners = importlib.metadata.packages_distributions()
    others = {name: set(owners.get(name, [])) - {"murmuration"} for name in PACKAGES}
    assert not any(others.values()), others


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_or_evaluates(path: Path) -> None:
    offences = [f"{path.name}:{node.lineno} {what}" for node, what in _offences(ast.parse(path.read_text()))]
    assert offences == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_fit_in_a_glance(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    nodes = ast.walk(ast.parse(text))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > MAX_FUNCTION_LINES]
    assert long == []


def test_the_scan_finds_what_it_looks_for() -> None:
    bad = "import pickle\nfrom dill import loads\neval('1')\nimport torch\ntorch.load('x')\n"
    assert [what for _, what in _offences(ast.parse(bad))] == ["pickle", "dill", "eval", "torch.load"]
    good = "from pickle import UnpicklingError\nmodel.eval()\nre.compile('x')\ntorch.load('x', weights_only=True)\n"
    assert list(_offences(ast.parse(good))) == []


def _offences(tree: ast.AST) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, a.name) for a in node.names if a.name.split(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            if {alias.name for alias in node.names} - HARMLESS_NAMES:
                yield node, str(node.module)
        elif isinstance(node, ast.Call) and (what := _forbidden_call(node)):
            yield node, what


def _forbidden_call(call: ast.Call) -> str | None:
    if isinstance(call.func, ast.Name) and call.func.id in FORBIDDEN_CALLS:
        return call.func.id
    if ast.unparse(call.func) != "torch.load":
        return None
    safe = any(k.arg == "weights_only" and getattr(k.value, "value", None) is True for k in call.keywords)
    return None if safe else "torch.load"
