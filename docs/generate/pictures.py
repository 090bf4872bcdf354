"""The two pictures of the architecture page, drawn from that page's own table and tree and from the contracts."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
COLOURS = {"node": "#dbe9f6", "swarm": "#dff0d8", "policies": "#f9e8d2"}
LANES = {"sender": 20, "swarm": 390, "receiver": 760}  # left edge of each, in pixels
WIDTH, BOX, LINE, GAP = 1120, 340, 15, 10


def rooms_picture() -> str:
    """Every room on its floor; a room imports only what lies below it."""
    words = room_words()
    parts, y = [], 40
    for package in ("node", "swarm", "policies"):
        floors = floors_of(package)
        top, inner = y, y + 30
        for floor in floors:
            boxes = [name for name in floor if name in words[package]]
            if boxes:
                row, height = _row(boxes, words[package], inner, COLOURS[package])
                parts += row
                inner += height + GAP
        parts.insert(0, _box(10, top, WIDTH - 20, inner - top, "#fafafa"))
        parts.append(_text(22, top + 20, f"{package}/", bold=True))
        y = inner + GAP
    parts.append(
        _text(22, 24, "Imports go down: node to swarm to policies, and in each from floor to floor.")
    )
    return _svg(y, parts)


def rollout_picture() -> str:
    """From one node's sampling to another's optimiser step, a box a step."""
    heads = {"sender": "the node that samples", "swarm": "between them", "receiver": "another node"}
    parts = [_text(LANES[lane] + 8, 24, head, bold=True) for lane, head in heads.items()]
    y, last = 40, None
    for number, (step, lane, where) in enumerate(rollout_steps(), 1):
        lines = [f"{number}. {step}", *where]
        height = LINE * len(lines) + 14
        x = LANES[lane]
        if last is not None:
            parts.append(_arrow(*last, x + BOX / 2, y))
        colour = {"sender": COLOURS["node"], "swarm": COLOURS["swarm"], "receiver": COLOURS["policies"]}[lane]
        parts.append(_box(x, y, BOX, height, colour))
        parts += [
            _text(x + 10, y + 19 + LINE * n, line, bold=n == 0, code=n > 0) for n, line in enumerate(lines)
        ]
        last = (x + BOX / 2, y + height)
        y += height + 22
    return _svg(y, parts)


def room_words() -> dict[str, dict[str, str]]:
    """What the tree on the architecture page says of each room, by package and name."""
    tree = PAGE.read_text(encoding="utf-8").split("## The rooms")[1].split("```")[1]
    found: dict[str, dict[str, str]] = {}
    rooms: dict[str, str] = {}
    for line in tree.splitlines():
        if package := re.match(r"(node|swarm|policies)/", line):
            found[package[1]] = rooms = {}
        elif entry := re.match(r"  (\w+)(?:/|\.py) +(\S.*)", line):
            rooms[entry[1]] = entry[2].replace("`", "")
    return found


def floors_of(package: str) -> list[list[str]]:
    """The layers of the package's contract in pyproject.toml, top floor first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(c["layers"] for c in contracts if c.get("containers") == [package])
    return [[name.strip() for name in re.split(r"[|:]", layer)] for layer in layers]


def rollout_steps() -> Iterator[tuple[str, str, list[str]]]:
    """Step, lane and modules of each row of the page's table."""
    table = PAGE.read_text(encoding="utf-8").split("## A rollout's way")[1].split("\n## ")[0]
    for step, lane, where in re.findall(
        r"^\| ([^|]+) \| (sender|swarm|receiver) \| ([^|]+) \|$", table, re.M
    ):
        yield step, lane, re.findall(r"`([^`]+)`", where)


def _row(names: Sequence[str], words: dict[str, str], y: int, colour: str) -> tuple[list[str], int]:
    width = (WIDTH - 50 - GAP * (len(names) - 1)) / len(names)
    told = [textwrap.wrap(words[name], int(width / 6.6)) for name in names]
    height = LINE * max(map(len, told)) + 30
    parts = []
    for place, (name, lines) in enumerate(zip(names, told, strict=True)):
        x = 25 + place * (width + GAP)
        parts += [_box(x, y, width, height, colour), _text(x + 8, y + 18, name, bold=True, code=True)]
        parts += [_text(x + 8, y + 34 + LINE * n, line) for n, line in enumerate(lines)]
    return parts, height


def _svg(height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" font-size="12" '
        'font-family="sans-serif">\n<defs><marker id="tip" markerWidth="9" markerHeight="8" refX="8" refY="4" '
        'orient="auto"><path d="M0,0 L9,4 L0,8 z" fill="#555"/></marker></defs>\n'
    )
    return head + _box(0, 0, WIDTH, height, "#ffffff", edge="none") + "\n" + "\n".join(parts) + "\n</svg>\n"


def _box(x: float, y: float, width: float, height: float, colour: str, edge: str = "#999") -> str:
    size = f'width="{width:g}" height="{height:g}"'
    return f'<rect x="{x:g}" y="{y:g}" {size} rx="4" fill="{colour}" stroke="{edge}"/>'


def _text(x: float, y: float, text: str, *, bold: bool = False, code: bool = False) -> str:
    style = ' font-weight="bold"' if bold else ""
    style += ' font-family="monospace"' if code else ""
    return f'<text x="{x:g}" y="{y:g}" fill="#222"{style}>{escape(text)}</text>'


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (y + to_y) / 2
    path = f"M{x:g},{y:g} L{x:g},{middle:g} L{to_x:g},{middle:g} L{to_x:g},{to_y - 1:g}"
    return f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#tip)"/>'
