"""The table of a run fits its window: one line a round, the newest in sight, and the way on below it."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest
from rich.console import Console
from sample_events import ROUND

from node.storage.events import RoundEvent
from node.ui.round_columns import COLUMNS, columns_that_fit, legend, round_table
from node.ui.run_view import RunView
from node.ui.terminal.window import in_width

ALONE = [replace(ROUND, round=number, alone=True, refused={}, stage_one=0.5) for number in range(101, 113)]


def drawn(events: list[RoundEvent], width: int, height: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(round_table("runs/join-1", events, COLUMNS, width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (100, 30), (130, 50), (200, 12), (80, 3)])
def test_a_round_is_one_line_and_the_newest_is_in_sight(width: int, height: int) -> None:
    lines = drawn(ALONE, width, height)
    rows = [line for line in lines if "no peers heard" in line]
    assert rows and rows[-1].split()[0] == "112" and len(lines) <= max(height, 4)
    assert all("own, " in line and "ext" in line for line in rows)


@pytest.mark.parametrize("refused", [{}, {"stale": 2, "digest": 1}])
def test_no_mark_is_cut_at_any_width(refused: dict[str, int]) -> None:
    events = [replace(event, refused=refused) for event in ALONE]
    for width in range(60, 160):
        assert any("no peers heard" in line for line in drawn(events, width, 40)), width


def test_a_wide_window_has_every_column_and_a_high_one_every_round_and_the_legend() -> None:
    assert columns_that_fit(ALONE, COLUMNS, 150) == COLUMNS
    names = [column.name for column in columns_that_fit(ALONE, COLUMNS, 80)]
    assert names[:2] == ["round", "reward"] and "trained on" in names and "waiting" not in names
    lines = drawn(ALONE, 150, 40)
    assert sum("no peers heard" in line for line in lines) == 12
    assert any("external ones came from peers" in line for line in lines)
    assert not any("external ones came from peers" in line for line in drawn(ALONE, 80, 10))


@pytest.mark.parametrize("width", [80, 100, 150])
def test_the_legend_is_broken_as_every_line_is(width: int) -> None:
    words = in_width(legend(columns_that_fit(ALONE, COLUMNS, width), COLUMNS), width).splitlines()
    assert [line.rstrip() for line in drawn(ALONE, width, 60)[-len(words) :]] == words


def test_the_way_on_comes_below_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    window = io.StringIO()
    monkeypatch.setattr(sys, "stdout", window)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with RunView("live", "runs/join-1") as view:
        view.on_round(ROUND)
        view.end_table()
        view.say("stopped and saved after round 1; go on with: murmur run --resume")
        view.on_round(ROUND)  # draws no second one
    said = window.getvalue()
    assert 0 < said.rindex("first tries") < said.index("go on with") and said.count("runs/join-1 ") == 2
