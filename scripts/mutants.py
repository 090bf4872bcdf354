"""Mutants: small faults put into a file one at a time, to see whether the tests of its room notice.

    python scripts/mutants.py swarm/admission/replay_guard.py [--seconds 600] [--line 120] [--tests FILE]

The tests are collected once. Of each it is noted which lines of the file it runs; a mutant is put into a forked process
there, and meets the tests that run its line. It is killed where one of them fails, or runs on without end. What
survives is printed, before and after: equal in effect, of no weight, or a gap in the tests. So is what waits for ever,
or for a busy machine: nobody knows which.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import pickle
import resource
import select
import signal
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from coverage import Coverage

ROOT = Path(__file__).parents[1]
ROOMS = {"policies/": "tests/unit/", "node/": "tests/unit/node/", "swarm/": "tests/unit/swarm/"}
NAMED = ("unit", "text", "diffusion")  # rooms of which only the tests that name a file are played
# For the tests of one mutant. By the clock alone, a machine that others keep busy kills every mutant.
CPU_PATIENCE = 60  # seconds of CPU
PATIENCE = 600.0  # seconds

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}
OUTCOMES = {True: "killed", False: "survived", None: "without an end"}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
Change = Callable[[Any], None]


@dataclass(frozen=True)
class Mutant:
    """What is done to one node of a file's tree, by its place in the walk."""

    place: int
    line: int
    change: Change

    def put_into(self, tree: ast.Module) -> tuple[ast.Module, str]:
        """The tree with the fault, and what it does to its node in words."""
        changed = copy.deepcopy(tree)
        node = list(ast.walk(changed))[self.place]
        before = ast.unparse(node).splitlines()[0]
        self.change(node)
        after = ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]
        return ast.fix_missing_locations(changed), f"{before}  ->  {after}"


def mutants(tree: ast.Module) -> Iterator[Mutant]:
    """Every mutant of a file. What is said to people is left as it is, and so are constants of the module: tests name
    them, so their values are choices that have reasons and not logic that has tests."""
    skipped = {
        id(inner) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        asides = [getattr(node, name, None) for name in ("annotation", "returns")]
        for aside in [*asides, *getattr(node, "decorator_list", [])]:
            skipped |= {id(inner) for inner in ast.walk(aside)} if aside else set()
    for constant in [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]:
        skipped |= {id(inner) for inner in ast.walk(constant)}
    for place, node in enumerate(ast.walk(tree)):
        if id(node) not in skipped:
            yield from (Mutant(place, getattr(node, "lineno", 0), change) for change in changes(node))


def changes(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Compare(ops=[only]) if type(only) in SWAPPED:
            yield lambda it: setattr(it, "ops", [SWAPPED[type(only)]()])
        case ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in SWAPPED:
            yield lambda it: setattr(it, "op", SWAPPED[type(op)]())
        case ast.Constant(value=bool(value)):
            yield lambda it: setattr(it, "value", not value)
        case ast.Constant(value=int(value)):
            yield lambda it: setattr(it, "value", value + 1)
        case ast.Constant(value=float(value)):
            yield lambda it: setattr(it, "value", 2 * value + (value == 0.0))
        case ast.Name(id=name) if name in NAMES:
            yield lambda it: setattr(it, "id", NAMES[name])
        case ast.IfExp() | ast.If() | ast.While():
            yield lambda it: setattr(it, "test", ast.UnaryOp(ast.Not(), it.test))
        case ast.Expr(value=ast.Call()):
            yield lambda it: setattr(it, "value", ast.Constant(None))


def put_in_place(module: ModuleType, tree: ast.Module) -> None:
    """Gives the functions, classes and constants of a module what the changed file gives them, wherever they are."""
    fresh = ModuleType(module.__name__)
    fresh.__dict__.update(__file__=module.__file__, __package__=module.__package__)
    kept = sys.modules[module.__name__]
    sys.modules[module.__name__] = fresh  # dataclasses look their module up
    exec(compile(tree, str(module.__file__), "exec"), fresh.__dict__)
    sys.modules[module.__name__] = kept
    for name, new in vars(fresh).items():
        if name.startswith("__"):
            continue
        old = vars(module)[name]
        if getattr(old, "__module__", module.__name__) == module.__name__ and _renew(old, new):
            continue
        if isinstance(old, int | float | str | tuple | frozenset) and old != new:
            for user in [m for m in sys.modules.values() if m and vars(m).get(name) is old]:
                setattr(user, name, new)


def _renew(old: Any, new: Any) -> bool:
    """Whether `old` is code, which now does what `new` does."""
    old, new = getattr(old, "__wrapped__", old), getattr(new, "__wrapped__", new)
    if isinstance(old, FunctionType):
        old.__code__, old.__defaults__, old.__kwdefaults__ = (
            new.__code__,
            new.__defaults__,
            new.__kwdefaults__,
        )
    elif isinstance(old, staticmethod | classmethod):
        return _renew(old.__func__, new.__func__)
    elif isinstance(old, property):
        return _renew(old.fget, new.fget)
    elif isinstance(old, type):
        for name, inner in vars(new).items():
            if (
                name in vars(old)
                and not _renew(vars(old)[name], inner)
                and isinstance(inner, int | float | str)
            ):
                setattr(old, name, inner)
    else:
        return False
    return True


def forked(work: Callable[[], Any], patience: float, cpu_seconds: int = resource.RLIM_INFINITY) -> Any:
    """What `work` gives in a process of its own; None where it gives nothing, True where it takes too much CPU."""
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, resource.RLIM_INFINITY))
        try:
            os.write(writing, pickle.dumps(work()))
        except BaseException as error:  # noqa: BLE001  its parent goes on
            say(f"a child failed: {error!r}")
        os._exit(0)
    os.close(writing)
    end, came = time.monotonic() + patience, b""
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        if not (part := os.read(reading, 2**20)):
            break
        came += part
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(reading)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return True
    with suppress(pickle.UnpicklingError, EOFError):
        return pickle.loads(came)  # noqa: S301  of our own process
    return None


@dataclass
class Loop:
    """The plugin that plays mutants in place of the tests."""

    path: str
    end: float  # of the monotonic clock
    lines: set[int]
    outcomes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _failed: bool = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        file = ROOT / self.path
        module = sys.modules[self.path.removesuffix(".py").replace("/", ".")]
        covering = forked(lambda: self._covering(session.items, str(file)), 1e9)
        tree = ast.parse(file.read_text())
        inside = {
            line for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for line in _body(node)
        }
        for mutant in mutants(tree):
            if self.lines and mutant.line not in self.lines:
                continue
            if time.monotonic() > self.end:
                self.outcomes["left"] += 1
                continue
            # What is outside of functions ran when the file was imported, for whichever test.
            chosen = covering.get(mutant.line, []) if mutant.line in inside else range(len(session.items))
            changed, words = mutant.put_into(tree)
            noticing = partial(self._notice, session.items, chosen, module, changed)
            noticed = forked(noticing, PATIENCE, CPU_PATIENCE) if chosen else None
            outcome = OUTCOMES[noticed] if chosen else "never run"
            self.outcomes[outcome] += 1
            if outcome != "killed":
                say(f"{self.path}:{mutant.line}: {outcome}: {words}")
        return True

    def _covering(self, items: list[pytest.Item], file: str) -> dict[int, list[int]]:
        """By line of the file, which tests run it."""
        found: dict[int, list[int]] = defaultdict(list)
        for number, item in enumerate(items):
            traced = Coverage(data_file=None, include=[file], config_file=False)
            traced.start()
            self._run(item)
            traced.stop()
            if self._failed:
                say(f"fails without any mutant: {item.nodeid}")
                self._failed = False
                continue
            for line in self._lines_of(traced, file):
                found[line].append(number)
        return dict(found)

    def _lines_of(self, traced: Coverage, file: str) -> list[int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where a test runs none
            return traced.get_data().lines(file) or []

    def _notice(self, items: list[pytest.Item], chosen: Any, module: ModuleType, tree: ast.Module) -> bool:
        try:
            put_in_place(module, tree)
        except Exception:  # noqa: BLE001  a file that cannot even be imported is noticed
            return True
        for number in chosen:
            self._run(items[number])
            if self._failed:
                return True
        return False

    def _run(self, item: pytest.Item) -> None:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


def _body(function: ast.FunctionDef) -> range:
    return range(function.body[0].lineno, (function.end_lineno or 0) + 1)


def tests_of(path: str) -> list[str]:
    """The tests of the room that mirrors the file; of one that loads models, or of all, those that name it."""
    top = next(top for top in ROOMS if path.startswith(top))
    room = ROOT / Path(ROOMS[top] + path.removeprefix(top)).parent
    tests = sorted(room.glob("test_*.py"))
    if room.name in NAMED:
        name = path.removesuffix(".py").replace("/", ".")
        rooms = sorted((ROOT / "tests/unit").rglob("test_*.py"))
        near = [test for test in rooms if test.parent == room or test.parent.name not in NAMED]
        tests = [test for test in near if f"{name} " in test.read_text()]
    return [str(test) for test in tests]


def say(line: str) -> None:
    sys.__stdout__.write(f"{line}\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--line", type=int, action="append", default=[], help="only mutants of this line")
    parser.add_argument("--tests", action="append", help="in place of the tests of the file's room")
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    loop = Loop(asked.path, time.monotonic() + asked.seconds, set(asked.line))
    options = ["-p", "no:cacheprovider", "--capture=sys", "-m", "not slow and not gpu"]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123  what pytest says of its tests
        pytest.main([*options, *(asked.tests or tests_of(asked.path))], plugins=[loop])
    say(
        f"{asked.path}: "
        + ", ".join(f"{count} {outcome}" for outcome, count in sorted(loop.outcomes.items()))
    )


if __name__ == "__main__":
    main()
