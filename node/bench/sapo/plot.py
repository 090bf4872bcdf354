"""The curves of `murmur bench sapo` as a small SVG, written by hand: one line an arm, a band for its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape

from node.bench.sapo.cell import Cell
from node.bench.sapo.measures import SMOOTHED, curve

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 170, 36, 44
COLOURS = ("#555555", "#1f77b4", "#d62728", "#9467bd", "#2ca02c", "#8c8c8c", "#ff7f0e", "#17becf", "#bcbd22")


def draw_curves(cells: Sequence[Cell]) -> str:
    """Own reward by round, moving mean; lines are means over seeds, bands their range."""
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    curves = {arm: [curve(cell) for cell in cells if cell.arm == arm] for arm in arms}
    rounds = max(len(line) for lines in curves.values() for line in lines)
    top = max(value for lines in curves.values() for line in lines for value in line) or 1.0
    scale = _Scale(rounds, top)
    parts = [_frame(scale)]
    for arm, colour in zip(arms, COLOURS * len(arms), strict=False):
        parts.append(_arm(curves[arm], colour, scale))
        parts.append(_label(arm, colour, arms.index(arm)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>{"".join(parts)}</svg>\n'
    )


class _Scale:
    """From rounds and rewards to the picture's units."""

    def __init__(self, rounds: int, top: float) -> None:
        self.rounds, self.top = rounds, top

    def x(self, index: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * index / max(1, self.rounds - 1)

    def y(self, reward: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * reward / self.top


def _arm(lines: Sequence[Sequence[float]], colour: str, scale: _Scale) -> str:
    columns = list(zip(*lines, strict=False))
    mean = _points([statistics.fmean(column) for column in columns], scale)
    low = _points([min(column) for column in columns], scale)
    high = _points([max(column) for column in columns], scale)
    return (
        f'<polygon points="{" ".join([*high, *reversed(low)])}" fill="{colour}" fill-opacity="0.13"/>'
        f'<polyline points="{" ".join(mean)}" fill="none" stroke="{colour}" stroke-width="2"/>'
    )


def _points(values: Sequence[float], scale: _Scale) -> list[str]:
    return [f"{scale.x(index):.1f},{scale.y(value):.1f}" for index, value in enumerate(values)]


def _frame(scale: _Scale) -> str:
    ticks = []
    for quarter in range(5):
        reward, index = scale.top * quarter / 4, (scale.rounds - 1) * quarter // 4
        y, x = scale.y(reward), scale.x(index)
        ticks.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>')
        ticks.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{reward:.2f}</text>')
        ticks.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{index + 1}</text>')
    title = f"Reward of the own rollouts, mean over nodes, moving mean of {SMOOTHED} rounds; bands: range over seeds"
    return (
        f'{"".join(ticks)}<text x="{LEFT}" y="20">{escape(title)}</text>'
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">round</text>'
    )


def _label(arm: str, colour: str, place: int) -> str:
    x, y = WIDTH - RIGHT + 14, TOP + 20 * place + 8
    return (
        f'<line x1="{x}" y1="{y}" x2="{x + 22}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        f'<text x="{x + 30}" y="{y + 4}">{escape(arm)}</text>'
    )
