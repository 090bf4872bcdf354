"""Text as it is compared: signs that look alike are equal, and what shows nothing does not count."""

from __future__ import annotations

import unicodedata

# Zero-width space and joiner of words, byte-order mark, soft hyphen: they come along when text is copied. The joiners
# of emoji and of Persian stay.
_UNSEEN: dict[int, str | None] = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))
# Quotes and hyphens as programs of text set them in place of those that were typed.
_TYPED = str.maketrans("‘’“”\u2010\u2011\u2212", "''\"\"---")
_PLAIN = _UNSEEN | _TYPED


# On one letter; no language has so many, and to put thousands in order takes time in their number squared.
MAX_MARKS = 30
_FIRST_MARK = "\u0300"


def composed(text: str) -> str:
    """In Unicode's composed form; as it is where more than MAX_MARKS marks stand on a letter. Linear in its length."""
    if text.isascii():
        return text
    marks = 0
    for character in text if max(text, default="") >= _FIRST_MARK else "":
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > MAX_MARKS:
            return text
    return unicodedata.normalize("NFC", text)


def plain_text(text: str, *, ignore_case: bool = False) -> str:
    """In Unicode's composed form, with single spaces."""
    plain = " ".join(composed(text).translate(_PLAIN).split())
    return plain.casefold() if ignore_case else plain
