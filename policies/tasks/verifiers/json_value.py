"""Verifier of JSON: the last value that a completion gives is the row's, whatever its spacing and order of keys.

Depth has a bound of ours, far below the interpreter's: which values can be read must not hang on how deep in calls, or
on which Python, a node reads them.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from policies.settings import Settings
from policies.tasks.verifiers.plain_text import composed
from policies.tasks.verifiers.verifier import VerifierError

SCANNED_CHARACTERS = 16_384
# Characters that are read in all: a bracket that begins no value is read up to its first fault, and so is the next.
MAX_READ = 32 * SCANNED_CHARACTERS
MAX_DEPTH = 64  # of brackets in one another
NOTHING = object()


class JsonValue(Settings):
    """Objects and lists of at most 64 levels; 1 and 1.0 are equal, 1 and true are not."""

    name: Literal["json"] = "json"

    @property
    def version(self) -> int:
        return 3

    def check_answer(self, answer: str) -> None:
        """Raises VerifierError."""
        if len(answer) > SCANNED_CHARACTERS or last_value(answer) is NOTHING:
            raise VerifierError(
                f"the answer {answer[:40]!r} is no JSON object or list of at most {SCANNED_CHARACTERS} characters; "
                "the verifiers exact and number compare single values"
            )

    def score(self, completion: str, answer: str) -> float:
        """1.0 or 0.0."""
        written = last_value(completion)
        return 0.0 if written is NOTHING else float(_same(written, last_value(answer)))


def last_value(text: str) -> Any:
    """The last object or list in the end of the text; NOTHING without one. Linear in what is read, which is bounded."""
    part = composed(text[-SCANNED_CHARACTERS:])
    found: Any = NOTHING
    place = read = 0
    while read < MAX_READ and (start := _next_bracket(part, place)) is not None:
        place = start + 1
        end, deep = _scanned(part, start)
        read += end - start
        if deep:
            place = end
            continue
        try:
            found, place = _DECODER.raw_decode(part, start)
            read += place - start
        except json.JSONDecodeError as error:
            read += error.pos - start + 1
        except ValueError:  # a number of thousands of digits, or NaN
            read += len(part) - start
    return found


def _next_bracket(text: str, place: int) -> int | None:
    found = _BRACKET.search(text, place)
    return found.start() if found else None


def _scanned(text: str, start: int) -> tuple[int, bool]:
    """Where a value that begins at `start` ends, should it be one, or goes too deep; and whether it does."""
    depth, quoted = 0, False
    for token in _TOKEN.finditer(text, start):
        if quoted or token[0] == '"':
            quoted = quoted != (token[0] == '"')
            continue
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if not 0 < depth <= MAX_DEPTH:
            return token.end(), depth > MAX_DEPTH
    return len(text), False


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_BRACKET = re.compile(r"[\[{]")
_TOKEN = re.compile(r'\\.|["\[\]{}]', re.DOTALL)  # in a text a quote may stand behind a backslash
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)
