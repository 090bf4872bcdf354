"""Comparison of mathematics as a kind of work, by the library math-verify. A worker process runs this file.

For {written, right}, two texts: {"equal": bool}. Texts are parsed as LaTeX by a grammar; nothing in them is evaluated
as code. The library's own timers count wall time, and call what they cut off unequal: they are off, and the worker's
bounds, after which there is no verdict, are in their place.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify

MEMORY_BYTES = 2 * 2**30
_MARKS = ("$", "\\boxed", "\\(", "\\[")


def greet(arguments: Sequence[str]) -> dict[str, Any]:
    """Loads what the first comparison would: the grammar's tables."""
    logging.disable()
    answer({"written": r"\frac{1}{2}", "right": "0.5"})
    return {}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Whether both are one value, expression, set or interval; text that is no mathematics equals nothing."""
    try:
        right, written = _parsed(question["right"]), _parsed(question["written"])
        return {"equal": bool(verify(right, written, timeout_seconds=None, raise_on_error=True))}
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001  whatever a parser, or sympy, says of a text: it cannot be read
        return {"equal": False}


def _parsed(text: str) -> Any:
    marked = text if any(mark in text for mark in _MARKS) else f"${text}$"
    return parse(marked, [LatexExtractionConfig()], parsing_timeout=None, raise_on_error=True)
