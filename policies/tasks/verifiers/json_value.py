"""Verifier of JSON: the last value that a completion gives is the row's, whatever its spacing and order of keys."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from policies.settings import Settings
from policies.tasks.verifiers.verifier import VerifierError

SCANNED_CHARACTERS = 16_384
# Characters that are read in all: a bracket that begins no value is read up to its first fault, and so is the next.
MAX_READ = 16 * SCANNED_CHARACTERS
MAX_DEPTH_READ = 4096  # counted for a value that is nested too deeply to be read
NOTHING = object()


class JsonValue(Settings):
    """Objects and lists; 1 and 1.0 are equal, 1 and true are not. Read with no more than the library's own depth."""

    name: Literal["json"] = "json"

    @property
    def version(self) -> int:
        return 1

    def check_answer(self, answer: str) -> None:
        """Raises VerifierError."""
        if len(answer) > SCANNED_CHARACTERS or last_value(answer) is NOTHING:
            raise VerifierError(
                f"the answer {answer[:40]!r} is no JSON object or list of at most {SCANNED_CHARACTERS} characters"
            )

    def score(self, completion: str, answer: str) -> float:
        """1.0 or 0.0."""
        written = last_value(completion)
        if written is NOTHING:
            return 0.0
        try:
            return float(_same(written, last_value(answer)))
        except RecursionError:
            return 0.0


def last_value(text: str) -> Any:
    """The last object or list in the end of the text; NOTHING without one. Linear in what is read, which is bounded."""
    part = text[-SCANNED_CHARACTERS:]
    found: Any = NOTHING
    place = read = 0
    while read < MAX_READ and (start := _next_bracket(part, place)) is not None:
        try:
            found, place = _DECODER.raw_decode(part, start)
            read += place - start
        except json.JSONDecodeError as error:
            read += error.pos - start + 1
            place = start + 1
        except (ValueError, RecursionError):
            read += MAX_DEPTH_READ
            place = start + 1
    return found


def _next_bracket(text: str, place: int) -> int | None:
    found = _BRACKET.search(text, place)
    return found.start() if found else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_BRACKET = re.compile(r"[\[{]")
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)
