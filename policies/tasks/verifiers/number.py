"""Verifier of numbers: the last one that a completion gives has the value of the row's."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

from pydantic import Field

from policies.settings import Settings
from policies.tasks.verifiers.answer import answer_part
from policies.tasks.verifiers.verifier import VerifierError

# Of a number that is computed with: `int` takes quadratic time in the digits, and an exponent makes digits.
# Longer ones are equal where their characters are.
MAX_DIGITS = 400
MAX_EXPONENT = 400
# An optional part is possessive or fixed where it could be read in two ways, so that reading is linear.
_UNSIGNED = r"(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]{1,9}(?![0-9]))?"
_NUMBER = re.compile(rf"(?<![\w.])[-+]?{_UNSIGNED}(?:\s?/\s?{_UNSIGNED})?")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:,|\\,|\{,\})(?=[0-9]{3}(?![0-9]))")
_FRACTION = re.compile(r"\\[dt]?frac\{([0-9.]{1,80})\}\{([0-9.]{1,80})\}")
# A final answer behind this mark is one in GSM8K's rows, and what models trained on them write.
_FINAL = "####"


class Number(Settings):
    """`1,000`, `+1000`, `1000.0` and `1e3` are equal, and so are `1/2` and `0.5`; units round it do not count."""

    name: Literal["number"] = "number"
    tolerance: float = Field(default=0.0, ge=0, le=1)
    """Largest difference that still counts as equal, as a share of the right value."""

    @property
    def version(self) -> int:
        return 1

    def check_answer(self, answer: str) -> None:
        """Raises VerifierError."""
        if last_number(answer) is None:
            raise VerifierError(f"the answer {answer[:40]!r} holds no number")

    def score(self, completion: str, answer: str) -> float:
        """1.0 or 0.0. Both sides are read alike: in the last mark, behind `####`, or else at the end."""
        written, right = last_number(completion), last_number(answer)
        if written is None or right is None:
            return 0.0
        if isinstance(written, str) or isinstance(right, str):
            return float(written == right)
        return float(abs(written - right) <= abs(right) * Fraction(self.tolerance))


def last_number(text: str) -> Fraction | str | None:
    """The value of the last number in the answer's place; its characters where it is too long to compute with."""
    part = answer_part(text).rpartition(_FINAL)[2].replace("\u2212", "-")
    part = _FRACTION.sub(r"\1/\2", _THOUSANDS.sub("", part))
    found = _NUMBER.findall(part)
    return _value(found[-1]) if found else None


def _value(text: str) -> Fraction | str | None:
    over, _, under = text.partition("/")
    parts = [_decimal(part.strip()) for part in (over, under) if part]
    if any(isinstance(part, str) for part in parts):
        return text
    top, *bottom = (part for part in parts if isinstance(part, Fraction))
    if not bottom:
        return top
    return top / bottom[0] if bottom[0] else None


def _decimal(text: str) -> Fraction | str:
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > MAX_DIGITS or (exponent and abs(int(exponent)) > MAX_EXPONENT):
        return text
    return Fraction(text)
