"""Tables in Markdown, for model cards."""

from __future__ import annotations

from collections.abc import Iterable


def markdown_table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table with `head` above; a bar in a cell is escaped."""
    names = list(head)
    lines: list[Iterable[object]] = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
