"""Pure verifiers of a completion's text against a known answer: no parsing, no conversion, no evaluation.

Every verifier reads the answer in the same place: in the last `<answer>` tag or `\\boxed{}`, whichever stands later,
and without either at the end. Lenient about what surrounds it, since small models rarely mark their answers, and
strict about where it stands: only what comes last counts, so listing every candidate earns nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# An answer stands at the end; scanning no more than this bounds the time of a hostile completion.
SCANNED_CHARACTERS = 4096
FINAL = "####"  # stands before the final answer in GSM8K's rows, and in what models trained on them write
TAG, TAG_END, BOX = "<answer>", "</answer>", "\\boxed{"
_MARKS = 8  # that may stand in one another; thousands, each with another inside, once took 31 ms
_BRACE = re.compile(r"[{}]")
_NUMBER = re.compile(r"(?<![\w.])[-+]?[0-9]+(?:\.[0-9]+)?")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_DRESSED = re.compile(r"\s*\\(?:text|textbf|textit|texttt|textrm|mathrm|mathbf|mathtt)\s*\{")
_CUT_WORD = re.compile(r"^[\w.,+-]+")
# What stands round an answer and is no part of it.
EDGES = " \t\r\n.,;:!?\"'`*()[]{}$="

AnswerCheck = Callable[[str, str], bool]  # (completion, answer)


def answer_part(completion: str) -> str:
    """What stands in the last `<answer>` tag or `\\boxed{}`; without either, the end of the completion.

    A mark that is not closed goes on to the end. A box may stand in a tag or a tag in a box, and words in a box in
    `\\text{}` or the like, as is usual in LaTeX.
    """
    part = completion[-SCANNED_CHARACTERS:]
    if len(completion) > len(part):
        part = _CUT_WORD.sub("", part)  # the end of a longer number is another number
    for _ in range(_MARKS):
        tag, box = part.rfind(TAG), part.rfind(BOX)
        if tag == box:  # there is neither
            break
        if tag > box:
            part = part[tag + len(TAG) :].partition(TAG_END)[0]
        else:
            part = _braced(part[box + len(BOX) :])
            while dressed := _DRESSED.match(part):
                part = _braced(part[dressed.end() :])
    return part


def final_part(text: str) -> str:
    """What stands behind the last `####` of the answer's part, or all of it; without blanks at its ends."""
    return answer_part(text).rpartition(FINAL)[2].strip()


def _braced(text: str) -> str:
    """Up to the brace that closes the one before `text`."""
    depth = 1
    for brace in _BRACE.finditer(text):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return text[: brace.start()]
    return text


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
        return written[-1].rsplit(" ", 1)[-1].strip(EDGES) == wanted[0]
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
    stripped = (" ".join(line.split()).strip(EDGES).casefold() for line in text.splitlines())
    return [line for line in stripped if line]
