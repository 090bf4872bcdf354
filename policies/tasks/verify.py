"""Pure verifiers of a completion's text against a known answer: no parsing, no conversion, no evaluation.

Lenient about what surrounds the answer, since small models rarely write answer tags, and strict about where
it stands: only what comes last counts, so listing every candidate earns nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# An answer stands at the end; scanning no more than this bounds the time of a hostile completion.
SCANNED_CHARACTERS = 4096
_NUMBER = re.compile(r"(?<![\w.])[-+]?[0-9]+(?:\.[0-9]+)?")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_EDGES = " \t\r\n.,;:!?\"'`*()[]{}$="

Verifier = Callable[[str, str], bool]  # (completion, answer)


def answer_part(completion: str) -> str:
    """What stands in the last `<answer>` tag; without one, the end of the completion."""
    tail = completion[-SCANNED_CHARACTERS:]
    _, tag, tagged = tail.rpartition("<answer>")
    return tagged.partition("</answer>")[0] if tag else tail


def last_number_is(completion: str, answer: str) -> bool:
    """Whether the last number written has the value of `answer`: `1,000`, `+1000` and `1000.0` are equal."""
    found = _NUMBER.findall(_THOUSANDS.sub("", answer_part(completion).replace("\u2212", "-")))
    return bool(found) and _canonical_number(found[-1]) == _canonical_number(answer)


def ends_with_text(completion: str, answer: str) -> bool:
    """Whether the completion ends with `answer`, whatever the case, spacing and punctuation around it.

    One word is compared with the last word; an answer of several words, or lines, with as many last lines.
    """
    wanted = _lines(answer)
    written = _lines(answer_part(completion))
    if not written:
        return False
    if len(wanted) == 1 and " " not in wanted[0]:
        return written[-1].rsplit(" ", 1)[-1].strip(_EDGES) == wanted[0]
    return written[-len(wanted) :] == wanted


def _canonical_number(text: str) -> str:
    """Compared as text: `int` of a few thousand digits raises, and longer ones take quadratic time."""
    sign = "-" if text.startswith("-") else ""
    whole, _, fraction = text.lstrip("+-").replace(",", "").partition(".")
    fraction = fraction.rstrip("0")
    magnitude = whole.lstrip("0") or "0"
    value = f"{magnitude}.{fraction}" if fraction else magnitude
    return value if value == "0" else sign + value


def _lines(text: str) -> list[str]:
    stripped = (" ".join(line.split()).strip(_EDGES).casefold() for line in text.splitlines())
    return [line for line in stripped if line]
