"""Verifier of numbers: the last one that a completion gives has the value of the row's."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

from pydantic import Field

from policies.settings import Settings
from policies.tasks.verifiers.answer import final_part
from policies.tasks.verifiers.plain_number import UNSIGNED, is_expression, plain_number
from policies.tasks.verifiers.verifier import VerifierError

# Of a number that is computed with: `int` takes quadratic time in the digits, and an exponent makes digits.
# Longer ones are equal where their characters are.
MAX_DIGITS = 400
MAX_EXPONENT = 400
SHORT = 40  # characters of an answer without a way to it, which holds one number
_MIXED = re.compile(r"([-+]?)([0-9]{1,80})\s{1,3}([0-9]{1,80})/([0-9]{1,80})")
_NUMBER = re.compile(
    rf"(?<![\w.])(?:[-+]?[0-9]++\s{{1,3}}[0-9]++/[0-9]++(?![\w/]|\.[0-9])|[-+]?{UNSIGNED}(?:\s?/\s?{UNSIGNED})?)"
)
_DIGITS = re.compile(r"[0-9]")


class Number(Settings):
    """`1,000`, `+1000`, `1000.0` and `1e3` are equal, and so are `1/2` and `0.5`; units round it do not count."""

    name: Literal["number"] = "number"
    tolerance: float = Field(default=0.0, ge=0, le=1)
    """Largest difference that still counts as equal, as a share of the right value."""

    @property
    def version(self) -> int:
        return 3

    def check_answer(self, answer: str) -> None:
        """Raises VerifierError for an answer that holds no number, or not one alone."""
        part = final_part(answer)
        if is_expression(part):
            raise VerifierError(
                f"the answer {part[:40]!r} is an expression: the verifier math compares those"
            )
        if last_number(answer) is None:
            raise VerifierError(f"the answer {answer[:40]!r} holds no number")
        plain = plain_number(part)
        *others, read = _NUMBER.findall(plain)
        left_out = not any(map(str.isalpha, plain)) and len(_DIGITS.findall(read)) < len(
            _DIGITS.findall(plain)
        )
        several = len(part) <= SHORT and "=" not in part and {*map(_value, others)} - {_value(read)}
        if left_out or several:
            raise VerifierError(
                f"the answer {part[:40]!r} would be read as {read}: write one number, such as 1000, 1,000, 3.14 or 1/2"
            )

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
    found = _NUMBER.findall(plain_number(final_part(text)))
    return _value(found[-1]) if found else None


def _value(text: str) -> Fraction | str | None:
    if mixed := _MIXED.fullmatch(text):
        sign, whole, over, under = mixed.groups()
        if 0 < int(over) < int(under):
            value = int(whole) + Fraction(int(over), int(under))
            return -value if sign == "-" else value
        text = f"{over}/{under}"  # two numbers
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
