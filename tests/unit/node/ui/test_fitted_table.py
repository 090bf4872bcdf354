"""What a table gives up in a narrow window, and what it never cuts."""

from __future__ import annotations

import pytest
from rich.console import Console

from node.ui.fitted_table import FittedTable

COLUMNS = ("id", "task", "tokens", "text")
ROWS = [
    [
        "1234567",
        "data:words@e1fd542b4aae4de5",
        "24",
        "a text that is longer than what a line has room for, 中",
    ]
]


def shown(width: int, *, fold: bool = False) -> tuple[list[str], str]:
    fitted = FittedTable(COLUMNS, ROWS, width, {"task": 10, "text": 12}, ("tokens", "task"), fold=fold)
    console = Console(width=width)
    with console.capture() as capture:
        console.print(fitted.table("a title"))
    return capture.get().splitlines(), fitted.remark


def test_all_is_whole_where_there_is_room() -> None:
    (title, _, line), remark = shown(120)
    assert title.strip() == "a title" and remark == ""
    assert line.split() == " ".join(ROWS[0]).split()


def test_what_may_be_cut_is_cut_before_a_column_is_left_out() -> None:
    (_, heads, line), remark = shown(50)
    assert heads.split() == list(COLUMNS) and remark == ""
    assert "1234567  data:word…  24" in line and len(line) <= 50


@pytest.mark.parametrize(
    ("width", "left", "words"),
    [
        (40, ["id", "task", "text"], "also tokens"),
        (25, ["id", "text"], "also task, tokens"),
    ],
)
def test_lesser_columns_are_left_out_and_named(width: int, left: list[str], words: str) -> None:
    (_, heads, line), remark = shown(width)
    assert heads.split() == left and line.startswith("1234567  ") and len(line) <= width
    assert remark == f"from 41 characters a line on, and in --json, {words}"


def test_a_table_folds_only_where_the_room_is_not_enough() -> None:
    heads = ("run", "held-out reward")
    fitted = FittedTable(heads, [["runs/swim-1", "0.25"]], 80, {}, fold=True)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(fitted.table())
    assert capture.get().splitlines()[0].split("  ")[-1].strip() == "held-out reward"
    assert shown(120, fold=True) == shown(120)


def test_a_folded_table_cuts_nothing() -> None:
    lines, _ = shown(50, fold=True)
    assert "".join(line[9:19].strip() for line in lines[2:]) == ROWS[0][1]
