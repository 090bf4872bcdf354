r"""Numbers as people and models write them, brought to plain digits: `1\,000`, `1½`, `-\$5`, `1.5 \times 10^3`.

What is no number of its own is taken out: exponents and indexes of units (`m^2`, `CO_{2}`), and powers of numbers,
which are expressions. Every pattern reads a text in time linear in its length.
"""

from __future__ import annotations

import re
import unicodedata

# Decimal digits, possessive where a part could be read in two ways.
UNSIGNED = r"(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]{1,9}(?![0-9]))?"

_CHARACTERS = str.maketrans(
    "\N{MINUS SIGN}\N{EN DASH}\N{FULLWIDTH HYPHEN-MINUS}\N{FRACTION SLASH}\N{FULLWIDTH FULL STOP}"
    "\N{FULLWIDTH COMMA}０１２３４５６７８９",
    "---/.,0123456789",
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_RAISED = re.compile("[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_FRACTION_SLASH = "\N{FRACTION SLASH}"
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_SPACES = r"\u00a0\u2007\u2009\u202f"  # that hold a number's groups together
_THOUSANDS = re.compile(rf"(?<=[0-9])(?:,|\\[,!]|\{{,\}}|[_'’{_SPACES}])(?=[0-9]{{3}}(?![0-9]))")
_DEGREES = re.compile(r"\^(?:\\circ|\{\\circ\})")
_ARGUMENT = r"(?:\{\s{0,3}([-+]?[0-9.]{1,80})\s{0,3}\}|([0-9]))"
_FRACTION = re.compile(rf"([-+]?)\s?\\[dtc]?frac\s?{_ARGUMENT}\s?{_ARGUMENT}")
_LATEX_SPACE = re.compile(r"\\[ ,;:!]|~")
_CURRENCY = re.compile(r"([-+])\s?\\?[$€£¥]\s?(?=[0-9.])")
_SPACED_SIGN = re.compile(r"(=\s{0,3}[-+])\s{1,3}(?=[0-9.])")
_RAISED_TO = r"\s?(?:\^|\*\*)\s?[{(]?\s?([-+]?[0-9]{1,9})(?![0-9])\s?[})]?"
_TIMES_TEN = re.compile(rf"(?<=[0-9.])\s{{0,3}}(?:×|x|\*|·|\\times|\\cdot)\s{{0,3}}10{_RAISED_TO}")
_TEN = re.compile(rf"(?<![\w.])10{_RAISED_TO}")
_SCRIPT = r"(?:\{[^{}]{0,40}\}|[-+]?[0-9]++)"
_POWER = re.compile(rf"(?<![\w.])[-+]?(?:{UNSIGNED}|\([^()]{{0,40}}\))\s?(?:\^|\*\*)\s?{_SCRIPT}")
_FUNCTION = re.compile(r"\\sqrt|√|π|\\pi(?![a-z])")
_WORD = re.compile(r"(?<![\\\w])[A-Za-z]{3,}")
_INDEX = re.compile(rf"[\^_]\s?{_SCRIPT}")


def plain_number(text: str) -> str:
    """The text with its numbers in plain digits, mixed ones as `1 1/2`; powers of numbers are left out."""
    text = with_powers(text.translate(_CHARACTERS))
    text = _VULGAR.sub(lambda sign: f" {_in_digits(sign[0])}", text)
    text = _DEGREES.sub("", _THOUSANDS.sub("", text))
    text = _LATEX_SPACE.sub(" ", _FRACTION.sub(_over, text))
    text = _SPACED_SIGN.sub(r"\1", _CURRENCY.sub(r"\1", text))
    text = _TEN.sub(r"1e\1", _TIMES_TEN.sub(r"e\1", text))
    return _INDEX.sub(" ", _POWER.sub(" ", text))


def with_powers(text: str) -> str:
    """`x²` as `x^{2}`."""
    return _RAISED.sub(lambda raised: f"^{{{raised[0].translate(_SUPERSCRIPTS)}}}", text)


def is_expression(text: str) -> bool:
    r"""Whether what the text ends with has a value that no number in it has: `2^10`, `3\sqrt{2}`, `2π`."""
    text = text.rpartition("=")[2]
    return not _WORD.search(text) and (_has_power(text) or _FUNCTION.search(text) is not None)


def _has_power(text: str) -> bool:
    r"""Whether a number is raised to another; `1.5 \times 10^3` is a number."""
    text = _TEN.sub("", _TIMES_TEN.sub("", _DEGREES.sub("", with_powers(text))))
    return _POWER.search(text) is not None


def _in_digits(vulgar: str) -> str:
    return unicodedata.normalize("NFKC", vulgar).replace(_FRACTION_SLASH, "/")


def _over(found: re.Match[str]) -> str:
    """` -1/2`: apart from a whole number before it."""
    over, under = found[2] or found[3], found[4] or found[5]
    minus = (found[1], over[0], under[0]).count("-") % 2
    return f" {'-' * minus}{over.lstrip('+-')}/{under.lstrip('+-')}"
