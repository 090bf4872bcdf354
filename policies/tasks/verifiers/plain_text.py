"""Text as it is compared: signs that look alike are equal, and what shows nothing does not count."""

from __future__ import annotations

import unicodedata

# Zero-width space and joiner of words, byte-order mark, soft hyphen: they come along when text is copied. The joiners
# of emoji and of Persian stay.
_UNSEEN: dict[int, str | None] = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))
# Quotes and hyphens as programs of text set them in place of those that were typed.
_TYPED = str.maketrans("‘’“”\u2010\u2011\u2212", "''\"\"---")
_PLAIN = _UNSEEN | _TYPED


def plain_text(text: str, *, ignore_case: bool = False) -> str:
    """In Unicode's composed form, with single spaces."""
    plain = " ".join(unicodedata.normalize("NFC", text).translate(_PLAIN).split())
    return plain.casefold() if ignore_case else plain
