"""No message shows an error of the system as Python prints it, with its number: `brief` says it in words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from policies.error_words import LONGEST, brief, no_such

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("policies", "swarm", "node") for path in (ROOT / package).rglob("*.py"))
SYSTEM = {
    "OSError",
    "PermissionError",
    "Exception",
    "BaseException",
    "DAEMON_ERRORS",
    "DAMAGED",
    "UNREADABLE",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_message_shows_a_raw_error_of_the_system(path: Path) -> None:
    assert list(raw(path.read_text())) == []


def test_what_pydantic_says_is_read_in_one_place() -> None:
    """Its own `msg` begins with `Value error, ` where a validator of ours raised one."""
    reading = [
        path.name for path in SOURCES if '["msg"]' in path.read_text() or "['msg']" in path.read_text()
    ]
    assert reading == ["error_words.py"]


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    assert (
        no_such("task", "sirt", ["sort", "add"]) == "no task 'sirt'; did you mean 'sort'? there are sort, add"
    )
    assert no_such("task", "x", []) == "no task 'x'; there are none"


@pytest.mark.parametrize("shown", ["f'{error}'", "str(error)", "log.info('%s', error)", "sys.exit(error)"])
@pytest.mark.parametrize("kind", ["OSError", "(ValueError, OSError)", "Exception", "(*DAEMON_ERRORS, X)"])
def test_a_raw_error_is_found(shown: str, kind: str) -> None:
    code = "try:\n    pass\nexcept {} as error:\n    x = {}"
    assert list(raw(code.format(kind, shown))) == [(4, "error")]
    assert not list(raw(code.format(kind, shown.replace("error", "brief(error)"))))
    assert not list(raw(code.format("DataError", shown)))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied", "/x"), "Permission denied: /x"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("of our own"), "of our own"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("two\nlines.\n"), "two lines"),
        (ValueError("x" * 999), "x" * LONGEST),
    ],
)
def test_an_error_in_words(error: Exception, words: str) -> None:
    assert brief(error) == words


def raw(source: str) -> Iterator[tuple[int, str]]:
    """Line and name where an error, which may be the system's, is turned to text as it is."""
    for handler in ast.walk(ast.parse(source)):
        if not isinstance(handler, ast.ExceptHandler) or not handler.name or handler.type is None:
            continue
        if not SYSTEM & {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}:
            continue
        for node in (node for statement in handler.body for node in ast.walk(statement)):
            if any(isinstance(text, ast.Name) and text.id == handler.name for text in texts(node)):
                yield node.lineno, handler.name


def texts(node: ast.AST) -> list[ast.expr]:
    """What a node of the code turns to text."""
    if isinstance(node, ast.FormattedValue):
        return [node.value]
    if not isinstance(node, ast.Call):
        return []
    logs = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in ("log", "logger")
    return node.args if logs or ast.unparse(node.func) in ("str", "repr", "print", "sys.exit") else []
