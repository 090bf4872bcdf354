"""Texts of strangers made harmless for a terminal: nothing in them moves a cursor, turns a line round or hides.

What is shown so still goes through a console that reads no markup, or into a page as a text node.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any, Final

# Controls, format characters (bidi, zero width, tags), surrogates, private use, unassigned, separators of lines.
UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
BLANKS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and signs that show nothing
MARKS: Final = frozenset({"Mn", "Me"})
MAX_MARKS: Final = 2  # on one letter: a pile of them covers the lines above
LONGEST_LINE: Final = 160  # characters of a text that is to stay on one line
LONGEST_TEXT: Final = 16_384  # of one that may have several


def visible(text: str, limit: int = LONGEST_TEXT, *, lines: bool = True) -> str:
    r"""The text in at most `limit` characters, each one printable: `\x1b`, `\u202e` stand for those that are not.

    Line feeds stay where `lines` says so. What is cut off is counted behind them.
    """
    shown: list[str] = []
    length = marks = 0
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        marks = marks + 1 if category in MARKS else 0
        safe = category not in UNSAFE_CATEGORIES and character not in BLANKS and marks <= MAX_MARKS
        next_one = character if safe or (character == "\n" and lines) else _escaped(character)
        length += len(next_one)
        if length > limit:
            return f"{''.join(shown)}… ({len(text) - place:,} more characters)"
        shown.append(next_one)
    return "".join(shown)


def one_line(text: str, limit: int = LONGEST_LINE) -> str:
    """The same on one line, its end cut off where it is longer."""
    shown = visible(text[: limit + 1], 10 * limit, lines=False)  # an escaped character takes ten at most
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def counted(count: int, noun: str) -> str:
    """`1 round`, `2 rounds`: of a noun whose plural is its `s`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def quoted(text: str) -> str:
    """A whole text behind a bar, so that no line of it passes for one of ours."""
    return "\n".join(f"  │ {line}" for line in visible(text).split("\n"))


def indented(text: str) -> str:
    """A whole text under a heading, each of its lines set in."""
    return visible(text).replace("\n", "\n    ")


def plain_json(value: Any) -> str:
    """JSON in printable ASCII: what is in it stays exact, and harmless where a terminal shows it."""
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")


def _escaped(character: str) -> str:
    names = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    if character in names:
        return names[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
