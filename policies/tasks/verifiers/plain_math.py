r"""Answers of mathematics as people write them, made ready for a grammar of LaTeX that takes letters for unknowns."""

from __future__ import annotations

import re

from policies.tasks.verifiers.plain_number import with_powers
from policies.tasks.verifiers.plain_text import plain_text

_MARKS = re.compile(r"\$|\\\(|\\\[")  # of mathematics in a text
_BEHIND_WORDS = re.compile(r".*(?:\b(?:is|are|be|equals|gives)\b|[A-Za-z]\s?:)(?P<answer>.+)")
_DRESSED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf)\s?\{([^{}]*)\}")
_EXPONENT = re.compile(r"(?<![\w.])([0-9]++(?:\.[0-9]++)?)[eE]([-+]?[0-9]{1,9})(?!\w)")
_MIXED = re.compile(r"(?<![\w.^/}])([0-9]++)\s([0-9]++)/([0-9]++)(?![\w./])")
_WORDS = re.compile(r"[^\W\d_]{3,}+(?:[ '-][^\W\d_]++)*+")


def plain_math(line: str) -> str:
    r"""One line without what stands round an answer: `So it is **5**.`, `\$5`, `\text{(B)}`.

    Mixed numbers, `1e3` and superscripts become LaTeX.
    """
    line = _bare(plain_text(line))
    if not _MARKS.search(line) and (found := _BEHIND_WORDS.fullmatch(line)):
        line = _bare(found["answer"])
    if dressed := _DRESSED.fullmatch(line):
        line = dressed[1].strip()
    line = line.replace("\\$", "")
    if line.count("$") % 2:  # of money, and not round mathematics
        line = line.replace("$", "", 1)
    line = _EXPONENT.sub(r"\1 \\times 10^{\2}", with_powers(line))
    return _MIXED.sub(r"\1\\frac{\2}{\3}", line)


def is_words(answer: str) -> bool:
    """Whether an answer is words, which are equal as they are spelt, and not letters that stand for numbers."""
    return _WORDS.fullmatch(answer) is not None


def _bare(line: str) -> str:
    return line.strip(" *`").rstrip(" *`.,;:")
