"""Columns of a round as people read it: the name, the cell, the legend that explains it, and a table of the newest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group
from rich.table import Table

from node.config.schema import Config
from node.config.sections.policy import DiffusionPolicyConfig
from node.config.sections.swarm import DhtConfig
from node.storage.events import RoundEvent
from node.ui.terminal.window import in_width

# Left out one after the other where the window is too narrow for all; the event store has them.
LEFT_OUT_FIRST = ("waiting", "published", "loss", "seconds", "refused", "received", "first tries")
GAP = 2  # characters between columns
FRAME = 4  # lines: title, names, the rule under them, the one that the cursor stands on
REFUSED, REMARKS = "refused", "remarks"
WRAPPED_WIDTH = {REFUSED: 8, REMARKS: 14}  # characters; what is longer takes more than one line


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a round."""

    name: str
    cell: Callable[[RoundEvent], str]
    meaning: str = ""  # for the legend; empty where the name says it
    of_peers: bool = False  # nothing in a silo
    of_text: bool = False  # nothing where rewards are not right or wrong, as those of images


def format_refused(refused: Mapping[str, int]) -> str:
    """`3 (stale 2, signature 1)`, or `0`."""
    if not refused:
        return "0"
    reasons = ", ".join(
        f"{reason} {count}" for reason, count in sorted(refused.items(), key=lambda item: -item[1])
    )
    return f"{sum(refused.values())} ({reasons})"


def format_loss(loss: float | None) -> str:
    """Three significant digits, for losses of 1e-5 are no zeros; `-` where nothing was trained on."""
    return "-" if loss is None else f"{loss:+.2e}" if 0 < abs(loss) < 1e-3 else f"{loss:+z.4f}"


def _trained(event: RoundEvent) -> str:
    external = f", {event.trained_external} external" if event.trained_external else ""
    return f"{event.trained_local} own{external}"


COLUMNS = (
    Column("round", lambda event: str(event.round)),
    Column("reward", lambda event: f"{event.reward:.3f}", "mean of this round's own rollouts, 0 to 1"),
    Column(
        "first tries",
        lambda event: f"{event.stage_one:.2f} right, {event.hard} hard",
        "share of right answers in the first rollouts of each problem (the reward, where each is right or wrong and no "
        "more are asked for), and problems with less than half right",
        of_text=True,
    ),
    Column("trained on", _trained, "groups in the update; external ones came from peers"),
    Column(
        "published", lambda event: str(event.published), "own groups that peers can fetch now", of_peers=True
    ),
    Column(
        "received",
        lambda event: str(event.received),
        "groups of peers that passed every check here",
        of_peers=True,
    ),
    Column(
        "refused",
        lambda event: format_refused(event.refused),
        "groups and records of peers that failed a check, with why",
        of_peers=True,
    ),
    Column(
        "waiting", lambda event: str(event.pool), "groups of peers kept for rounds to come", of_peers=True
    ),
    Column("loss", lambda event: format_loss(event.loss)),
    Column("seconds", lambda event: f"{event.seconds:.1f}"),
)


def columns_for(config: Config) -> tuple[Column, ...]:
    """Those that mean something for this run."""
    shares = isinstance(config.swarm, DhtConfig)
    text = not isinstance(config.policy, DiffusionPolicyConfig)
    return tuple(c for c in COLUMNS if (shares or not c.of_peers) and (text or not c.of_text))


def legend(columns: Sequence[Column], of: Sequence[Column] = ()) -> str:
    """What the columns mean, in one paragraph, and which of those `of` a run found no room."""
    words = [f"{column.name}: {column.meaning}" for column in columns if column.meaning]
    if missing := [column.name for column in of if column not in columns]:
        words.append(f"a wider window also has {', '.join(missing)}")
    return "; ".join(words)


def plain_round(event: RoundEvent, columns: Sequence[Column] = COLUMNS) -> str:
    """One round as one line."""
    cells = "  ".join(f"{column.name} {column.cell(event)}" for column in columns[1:])
    tail = ""
    for note in (event.silence, event.disagreement, event.shortage):
        tail += f"  {note}" if note else ""
    return f"round {event.round:>4}  {cells}{tail}"


def remarks_on(event: RoundEvent) -> str:
    """What the table's last cell says of a round out of the ordinary."""
    off = f"log-probs {event.logprob_mean or 0.0:.1g} off" if event.disagreement else ""
    short = "out of memory, smaller micro-batches" if event.shortage else ""
    return ", ".join(remark for remark in ("no peers heard" if event.alone else "", off, short) if remark)


def round_table(
    title: str, events: Sequence[RoundEvent], columns: Sequence[Column], width: int, height: int
) -> Group:
    """The newest of `events`, as many as `height` lines have room for, with the legend where it has room too."""
    shown = columns_that_fit(events, columns, width)
    words = in_width(legend(shown, columns), width)
    told = words.count("\n") + 2
    room = height - FRAME
    with_legend = room - told >= min(len(events), room // 2)
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
    )
    for column in shown:
        _add_column(table, column.name, [column.name, *map(column.cell, events)])
    _add_column(table, REMARKS, _remarks(events))
    rows = max(1, room - told if with_legend else room)
    for event in events[-rows:]:
        table.add_row(*(column.cell(event) for column in shown), remarks_on(event))
    return Group(table, "", words) if with_legend else Group(table)


def _remarks(events: Sequence[RoundEvent]) -> list[str]:
    """With their column's name, where there is any."""
    told = [remarks_on(event) for event in events]
    return [REMARKS, *told] if any(told) else []


def columns_that_fit(
    events: Sequence[RoundEvent], columns: Sequence[Column], width: int
) -> tuple[Column, ...]:
    """The columns that a window of `width` characters has room for, beside what is said of single rounds."""
    widths = _widths(events, columns)
    for name in LEFT_OUT_FIRST:
        if sum(widths.values()) <= width:
            break
        widths.pop(name, None)
    return tuple(column for column in columns if column.name in widths)


def _widths(events: Sequence[RoundEvent], columns: Sequence[Column]) -> dict[str, int]:
    """Characters of each column with the gap behind it, and of the remarks."""
    cells = {column.name: [column.name, *map(column.cell, events)] for column in columns}
    widths = {name: _width(name, told) + GAP for name, told in cells.items()}
    return widths | {REMARKS: _width(REMARKS, _remarks(events))}


def _add_column(table: Table, name: str, cells: Sequence[str]) -> None:
    """As wide as `columns_that_fit` reckons with; only what is longer than that takes more lines."""
    least = _width(name, cells)
    table.add_column(name if cells else "", no_wrap=max(map(len, cells), default=0) <= least, min_width=least)


def _width(name: str, cells: Sequence[str]) -> int:
    longest = max(map(len, cells), default=0)
    return min(longest, WRAPPED_WIDTH.get(name, longest))
