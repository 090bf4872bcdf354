"""Tables that fit the window: what is typed again stays whole, long texts are cut, lesser columns are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import OverflowMethod
from rich.table import Table
from rich.text import Text

GAP = 2  # characters between columns


class FittedTable:
    """Cells as text that nothing interprets, in `room` characters a line.

    `least` names the columns that may be cut, first the first, and to how many characters; all others stay whole.
    Columns of `lesser` are left out, the first of them first, where that is not enough. `fold`: where the room is not
    enough for all, what is cut goes on in further lines, as do headings of several words.
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        room: int,
        least: Mapping[str, int],
        lesser: Sequence[str] = (),
        *,
        fold: bool = False,
    ) -> None:
        whole = _longest([[name] for name in columns], columns, rows)
        fold = fold and _taken(whole) > room
        if fold:
            whole = _longest([name.split() for name in columns], columns, rows)
        self._columns, self._rows, self._fold = columns, rows, fold
        self.left_out: list[str] = []
        self._widths = dict(whole)
        shortest = {name: min(width, least.get(name, width)) for name, width in whole.items()}
        self._wanted = _taken(shortest)  # for all columns
        for name in lesser:
            if _taken(shortest) > room:
                self.left_out.append(name)
                del shortest[name], self._widths[name]
        for name in (name for name in least if name in self._widths):
            over = max(0, _taken(self._widths) - room)
            self._widths[name] = max(shortest[name], self._widths[name] - over)

    def table(self, title: str = "", *, heads: bool = True) -> Table:
        """As `rich` prints it."""
        table = Table(
            box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=heads, title_justify="left"
        )
        table.title = Text(title) if title else None
        for name, width in self._widths.items():
            cut: OverflowMethod = "fold" if self._fold else "ellipsis"
            table.add_column(name, width=width, no_wrap=not self._fold, overflow=cut)
        for row in self._rows:
            shown = zip(self._columns, row, strict=True)
            table.add_row(*(Text(cell) for name, cell in shown if name in self._widths))
        return table

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that there is room for."""
        return tuple(self._widths)

    @property
    def remark(self) -> str:
        """What was left out and where it is to be seen; empty for nothing."""
        if not self.left_out:
            return ""
        missing = [name for name in self._columns if name in self.left_out]
        return f"from {self._wanted} characters a line on, and in --json, also {', '.join(missing)}"


def _longest(
    heads: Sequence[Sequence[str]], columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> dict[str, int]:
    """Characters of the longest part of a heading or cell, by column."""
    return {
        name: max(map(cell_len, (*heads[place], *(row[place] for row in rows))))
        for place, name in enumerate(columns)
    }


def _taken(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)
