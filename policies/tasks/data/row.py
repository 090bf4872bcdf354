"""Row: what a file says in one place, as text by column; and the bounds on all of them."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from policies.tasks.verifiers.plain_text import composed

# A file's own bytes and what they are unpacked to, of the columns that are read. Beyond it a data set wants to be
# cut: a run of a thousand rounds meets ten thousand rows.
MAX_BYTES = 256 * 2**20
MAX_ROWS = 1_000_000
MAX_FIELD = 100_000  # characters of one value; csv's own limit is 131,072
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


_BYTE_ORDER_MARK = "\ufeff"  # at a file's start, and inside one that was joined of several


class DataError(ValueError):
    """Rows that cannot be read or used; the message names the place and what to change."""


class DataMissing(DataError):
    """Rows that are not there now, whatever a config says: a file that is gone, a hub that does not answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. A value that is not there, or null, is None."""

    place: str  # `line 7` of a file of lines, `row 7` of a table
    columns: Mapping[str, str | None]


def row_of(place: str, record: Mapping[str, Any], wanted: Collection[str]) -> Row:
    """A record as a row. What is in columns that no template names is not looked at. Raises DataError."""
    return Row(
        place, {key: text_of(value, place, key) if key in wanted else None for key, value in record.items()}
    )


def text_of(value: Any, place: str, column: str) -> str | None:
    """A value as a template shows it; lists and tables as JSON, a chat of one turn as what is said in it.

    Raises DataError for what has no text.
    """
    match value:
        case [{"role": str(), "content": str(said)}]:
            text = said
        case [{"role": str(), "content": _}, *turns] if all(
            isinstance(t, dict) and "role" in t for t in turns
        ):
            raise DataError(
                f"{place}: column {column!r} holds a chat of {len(turns) + 1} turns: name a column with the question, "
                "or the answer, alone"
            )
        case None:
            return None
        case str():
            text = value
        case bool() | list() | tuple() | dict():
            text = _json(value, place, column)
        case float() if not math.isfinite(value):
            raise DataError(
                f"{place}: column {column!r} holds {value}, which is no number: fill it in, or take the row out"
            )
        case int() | float() | Decimal():
            text = str(value)
        case datetime.datetime() | datetime.date() | datetime.time():
            text = value.isoformat()
        case _:
            raise DataError(
                f"{place}: column {column!r} holds {type(value).__name__}, which is no text: write it as text, or name "
                "another column"
            )
    return checked_text(text, place, column)


def checked_text(text: str, place: str, column: str) -> str:
    """The text with plain line ends, in Unicode's composed form.

    Raises DataError for one that is too long or holds what no text does.
    """
    if len(text) > MAX_FIELD:
        raise DataError(
            f"{place}: column {column!r} has {len(text)} characters; at most {MAX_FIELD}: shorten it, or leave it out"
        )
    plain = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    plain = plain if plain.isascii() else plain.replace(_BYTE_ORDER_MARK, "")
    if _CONTROL.search(plain):
        refuse_control(plain, f"{place}: column {column!r}")
    return composed(plain)


def first_twice(names: Iterable[str]) -> str | None:
    """The first name that is there more than once; a line may have a million."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def refuse_control(text: str, what: str) -> None:
    """Raises DataError for a control character, or half of a pair, which no text has and a terminal would obey."""
    if found := _CONTROL.search(text):
        raise DataError(f"{what} holds the control character U+{ord(found[0]):04X}: take it out")


def names_shown(names: Collection[str]) -> str:
    """Names of columns for a message, harmless for a terminal."""
    plain = (
        "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in name[:60])
        for name in sorted(names)[:30]
    )
    return ", ".join(plain) or "none"


def _json(value: Any, place: str, column: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{place}: column {column!r} cannot be written as JSON ({error})") from None
