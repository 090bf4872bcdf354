"""Words under the keys of settings classes, read from their source when somebody asks.

pydantic can gather them as each class is made, which took a tenth of the time in which a run starts.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache

from pydantic import BaseModel


def words_of(kind: type[BaseModel]) -> Mapping[str, str]:
    """The words of each key that `kind` or a class above it describes. Empty where there is no source."""
    found: dict[str, str] = {}
    for above in reversed(kind.__mro__):
        found |= _words_in(above.__module__).get(above.__qualname__, {})
    return {key: words for key, words in found.items() if key in kind.model_fields}


@cache
def _words_in(module: str) -> Mapping[str, Mapping[str, str]]:
    """By the qualified name of each class of the module."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):  # no module any more, no source, or a built-in one
        return {}
    return dict(_classes(tree, ""))


def _classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield f"{prefix}{child.name}", dict(_described(child))
            yield from _classes(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef):
            yield from _classes(child, f"{prefix}{child.name}.<locals>.")


def _described(kind: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Keys with a string right behind them."""
    for key, behind in zip(kind.body, kind.body[1:], strict=False):
        match key, behind:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                yield name, inspect.cleandoc(words)
