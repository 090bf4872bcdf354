"""The glossary and the troubleshooting page speak of what the program prints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from node.bench.arena.cell import CALM, ArenaCell
from node.bench.arena.defences import UNDEFENDED
from node.bench.arena.report import Arena
from node.bench.arena.report import rows as arena_rows
from node.ui import peers, round_columns
from node.ui.inspect import rollout_list, runs
from swarm.admission.refusal import Reason

ROOT = Path(__file__).parents[3]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
TROUBLES = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^\| `([^`]+)` \|", TROUBLES.split("## Why a group was refused")[0], re.M)
PAGE = ROOT / "node" / "web" / "page"
DASHBOARD = "".join(script.read_text(encoding="utf-8") for script in sorted(PAGE.glob("*.js")))


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_that_is_explained_is_one_of_the_program(message: str) -> None:
    fragments = [fragment.strip() for fragment in message.split("…") if fragment.strip()]
    pattern = re.compile(".*".join(map(re.escape, fragments)), re.S)
    assert any(pattern.search(text) for text in TEXTS), message


def test_an_invented_message_is_found_out() -> None:
    assert MESSAGES and not any("the moon is full" in text for text in TEXTS)


def test_every_reason_of_a_refusal_is_explained() -> None:
    told = set(re.findall(r"`(\w+)`", TROUBLES.split("## Why a group was refused")[1]))
    assert {reason.value for reason in Reason} - told == set()


def test_every_column_of_the_console_is_in_the_glossary() -> None:
    rounds = (column.name for column in round_columns.COLUMNS)
    lists = (*rollout_list.COLUMNS, *rollout_list.REFUSED_COLUMNS, *runs.COLUMNS, round_columns.REMARKS)
    arena = (name.removesuffix("_low").removesuffix("_high") for name in arena_columns())
    tables = (*peers._HISTORY_COLUMNS, *peers._ANNOUNCEMENT_COLUMNS, "problems", "metric", "difference")
    columns = {*rounds, *lists, *arena, *tables} - {"", "round", "peer"}
    told = set(re.findall(r"`([^`]+)`", GLOSSARY))
    assert columns - told == set()


def arena_columns() -> list[str]:
    figures = {"reward": 0.5, "marked": 0.0, "length": 9.0, "taken": 0.0, "bytes": 1.0, "cpu": 1.0}
    missing = {field.name: None for field in fields(ArenaCell)}
    told = {"attack": CALM, "defence": UNDEFENDED.name, "seed": 0, "flagged": 0.0, "blamed": 0.0}
    return list(arena_rows(Arena([ArenaCell(**missing | told | figures)]))[0])


def test_every_tile_of_the_dashboard_is_in_the_glossary() -> None:
    tiles = re.findall(r'tile\("([^"]+)"', DASHBOARD)
    words = GLOSSARY.lower()
    assert tiles and [name for name in tiles if name.removesuffix(" from peers") not in words] == []


def program_texts() -> Iterator[str]:
    """Every string of the packages; what is filled in when it is printed reads `…`."""
    for package in ("node", "swarm", "policies"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


TEXTS = list(program_texts())
