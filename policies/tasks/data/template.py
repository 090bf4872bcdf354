"""Template: text with column names in braces, each replaced by that column's value and nothing else.

Not `str.format`: that reads attributes, indexes and widths, so `{a.__class__}` shows what no row holds, and
`{a:>9999999}` fills the memory.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass

from policies.tasks.data.row import DataError, Row, names_shown, refuse_control

MAX_TEMPLATE = 10_000  # characters
MAX_RENDERED = 100_000
MAX_NAMES = 500  # of columns, among which a mistyped one's is looked for
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Template:
    """Parts in order: (text, column or None). `{{` and `}}` stand for braces."""

    text: str
    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str, what: str) -> Template:
        """Raises DataError for a brace that belongs to no column's name."""
        if len(text) > MAX_TEMPLATE:
            raise DataError(f"{what}: a template of {len(text)} characters; at most {MAX_TEMPLATE}")
        refuse_control(text, f"{what}: its template")
        parts: list[tuple[str, str | None]] = []
        end = 0
        for found in _PART.finditer(text):
            before, end = text[end : found.start()], found.end()
            if found[0] in ("{{", "}}"):
                parts.append((before + found[0][0], None))
            elif not found[1]:
                raise DataError(
                    f"{what}: {found[0]!r} at character {found.start() + 1} names no column; write {{{{ and }}}} for "
                    "braces that are to stay"
                )
            else:
                parts.append((before, found[1]))
        return cls(text, (*parts, (text[end:], None)))

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(column for _, column in self.parts if column is not None)

    def refuse_unknown(self, known: Collection[str], what: str) -> None:
        """Raises DataError for a name that is no column's, with those that are."""
        for column in sorted(self.columns - set(known)):
            rule = (
                "a template takes the names of columns and nothing else, no attributes, indexes or formats; "
                if re.search(r"[.\[\]:!]", column)
                else ""
            )
            meant = _meant(column, known)
            raise DataError(
                f"{what}: there is no column {column[:60]!r}{meant}; {rule}there are {names_shown(known)}"
            )

    def render(self, row: Row, what: str) -> str | None:
        """The text for a row; None where a column has no value. Raises DataError where it gets too long."""
        texts: list[str] = []
        for text, column in self.parts:
            texts.append(text)
            if column is not None:
                value = row.columns[column]
                if value is None:
                    return None
                texts.append(value)
        length = sum(map(len, texts))
        if length > MAX_RENDERED:
            raise DataError(f"{row.place}: {what} has {length} characters; at most {MAX_RENDERED}")
        return "".join(texts)


def _meant(column: str, known: Collection[str]) -> str:
    """The nearest name, whatever its case and spaces."""
    names = {name.strip().casefold(): name for name in sorted(known)[:MAX_NAMES]}
    near = difflib.get_close_matches(column.strip().casefold()[:60], names, n=1, cutoff=0.6)
    return f", did you mean {names[near[0]][:60]!r}?" if near else ""
