"""Nothing in the tree unpickles, evaluates or runs what may have come from outside; exceptions have a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("policies", "swarm", "node") for path in (ROOT / package).rglob("*.py"))

MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "jsonpickle"}
HARMLESS = {"pickle.UnpicklingError"}  # what torch.load raises on files that are not its own
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    *(f"builtins.{name}" for name in BUILTINS),
    *(f"yaml.{name}" for name in ("unsafe_load", "unsafe_load_all", "full_load", "full_load_all")),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("asyncio.create_subprocess_shell", "pty.spawn", "tempfile.mktemp", "code.interact"),
    *("pandas.read_pickle", "torch.hub.load", "torch.package.PackageImporter", "shutil.unpack_archive"),
    *("runpy.run_path", "runpy.run_module", "imp.load_source"),
}
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}
# (file, what): why it is safe there.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("node/bench/start/child.py", "runpy.run_module"): "our own package, by a name that is written there",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_makes_an_unsafe_call(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    found = [(line, what) for line, what in unsafe(path.read_text()) if (name, what) not in EXCEPTIONS]
    assert found == []


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import pickle", "pickle"),
        ("from dill import loads", "dill"),
        ("import marshal as m", "marshal"),
        ("import importlib\nimportlib.import_module('pickle')", "pickle"),
        ("eval('1')", "eval"),
        ("import builtins as b\nb.exec('1')", "builtins.exec"),
        ("import torch\ntorch.load('x')", "torch.load"),
        ("import torch\ntorch.load('x', weights_only=False)", "torch.load"),
        ("import torch as t\nt.load('x')", "torch.load"),
        ("from torch import load\nload('x')", "torch.load"),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle"),
        ("import yaml\nyaml.load('x')", "yaml.load"),
        ("import yaml\nyaml.load('x', Loader=yaml.Loader)", "yaml.load"),
        ("from yaml import unsafe_load\nunsafe_load('x')", "yaml.unsafe_load"),
        ("import subprocess as s\ns.run('x', shell=True)", "shell"),
        ("import subprocess\nsubprocess.run('x', shell=wanted)", "shell"),
        ("import os\nos.system('x')", "os.system"),
        ("from os import popen\npopen('x')", "os.popen"),
        ("load('x', trust_remote_code=True)", "trust_remote_code"),
        ("load('x', trust_remote_code=config.trust)", "trust_remote_code"),
        ("options = {'trust_remote_code': True}", "trust_remote_code"),
        ("options = dict(trust_remote_code=True)", "trust_remote_code"),
        ("options['trust_remote_code'] = True", "trust_remote_code"),
    ],
)
def test_the_scan_finds_what_it_looks_for(code: str, what: str) -> None:
    assert what in [found for _, found in unsafe(code)]


def test_the_scan_leaves_what_is_safe() -> None:
    code = """
from pickle import UnpicklingError
import re, subprocess, torch, yaml
model.eval()
re.compile("x")
torch.load("x", weights_only=True)
yaml.safe_load("x")
yaml.load("x", Loader=yaml.SafeLoader)
subprocess.run(["x"], shell=False)
options = {"trust_remote_code": False}
"""
    assert list(unsafe(code)) == []


def test_exceptions_are_still_needed() -> None:
    for (name, what), reason in EXCEPTIONS.items():
        assert reason
        assert what in [found for _, found in unsafe((ROOT / name).read_text())]


def unsafe(code: str) -> Iterator[tuple[int, str]]:
    """(line, what) of each unsafe import, call or setting."""
    tree = ast.parse(code)
    names = _imported(tree)
    for node in ast.walk(tree):
        for what in _faults(node, names):
            yield getattr(node, "lineno", 0), what


def _imported(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for, in full."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0]
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def _faults(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (module for a in node.names if (module := a.name.split(".")[0]) in MODULES)
    elif isinstance(node, ast.ImportFrom) and (module := (node.module or "").split(".")[0]) in MODULES:
        if any(f"{module}.{a.name}" not in HARMLESS for a in node.names):
            yield module
    elif isinstance(node, ast.Call):
        yield from _faults_of_call(node, _full_name(node.func, names))
        yield from (k.arg for k in node.keywords if k.arg and _is_unsafe_setting(k.arg, k.value))
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and _is_unsafe_setting(key.value, value):
                yield str(key.value)
    elif isinstance(node, ast.Assign):
        keys = [t.slice for t in node.targets if isinstance(t, ast.Subscript)]
        constants = [key.value for key in keys if isinstance(key, ast.Constant)]
        yield from (str(key) for key in constants if _is_unsafe_setting(key, node.value))


def _faults_of_call(call: ast.Call, name: str) -> Iterator[str]:
    if name in BUILTINS or name in CALLS:
        yield name
    elif name == "importlib.import_module" and call.args and isinstance(wanted := call.args[0], ast.Constant):
        yield from (module for module in [str(wanted.value).split(".")[0]] if module in MODULES)
    elif name == "torch.load":
        if not any(k.arg == "weights_only" and _is_constant(k.value, True) for k in call.keywords):
            yield name
    elif name in ("yaml.load", "yaml.load_all"):
        loaders = [k.value for k in call.keywords if k.arg == "Loader"] + list(call.args[1:2])
        if not loaders or ast.unparse(loaders[0]) not in SAFE_LOADERS:
            yield name


def _full_name(function: ast.expr, names: dict[str, str]) -> str:
    first, dot, rest = ast.unparse(function).partition(".")
    return names.get(first, first) + dot + rest


def _is_unsafe_setting(name: object, value: ast.expr) -> bool:
    """Settings that may only ever be the constant False."""
    return name in ("shell", "trust_remote_code", "allow_pickle") and not _is_constant(value, False)


def _is_constant(value: ast.expr, wanted: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted
