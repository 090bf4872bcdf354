"""Curves of `murmur bench branch` as one SVG file: reward and judge over network evaluations and processor seconds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from node.bench.branch.arms import Point

WIDTH, HEIGHT, MARGIN, LEGEND = 420, 260, 52, 30
COLOURS = ("#1b6ca8", "#8a8a8a", "#c77d0a", "#b3261e", "#5f4bb6", "#2e7d32")
ACROSS = (("evaluations", "network evaluations, thousands", 1e-3), ("seconds", "CPU seconds", 1.0))
UP = (("reward", "held-out reward"), ("judged", "judge: share right"))

Curves = Mapping[str, Sequence[Sequence[Point]]]  # arm -> seed -> points
Line = list[tuple[float, float, float, float]]  # x, and median, least and most of y over the seeds


def draw(curves: Curves) -> str:
    """Medians over the seeds with their range; needs an evaluation at the same iterations under every seed."""
    parts = []
    for row, (up, up_name) in enumerate(UP):
        for column, (across, across_name, scale) in enumerate(ACROSS):
            lines = {arm: _line(seeds, across, up, scale) for arm, seeds in curves.items()}
            panel = _panel(lines, across_name, up_name)
            parts.append(f'<g transform="translate({column * WIDTH} {LEGEND + row * HEIGHT})">{panel}</g>')
    size = (2 * WIDTH, LEGEND + 2 * HEIGHT)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" font-family="sans-serif" '
        f'font-size="11"><rect width="100%" height="100%" fill="white"/>{_legend(list(curves))}{"".join(parts)}</svg>\n'
    )


def _line(seeds: Sequence[Sequence[Point]], across: str, up: str, scale: float) -> Line:
    line = []
    for points in zip(*seeds, strict=True):
        heights = [float(getattr(point, up)) for point in points]
        place = statistics.median(scale * float(getattr(point, across)) for point in points)
        line.append((place, statistics.median(heights), min(heights), max(heights)))
    return line


def _panel(lines: Mapping[str, Line], across: str, up: str) -> str:
    right = max(point[0] for line in lines.values() for point in line) or 1.0
    low = min(point[2] for line in lines.values() for point in line)
    high = max(point[3] for line in lines.values() for point in line)
    height = (high - low) or 1.0

    def place(x: float, y: float) -> str:
        inner = (WIDTH - MARGIN - 16, HEIGHT - MARGIN - 10)
        return f"{MARGIN + x / right * inner[0]:.1f},{10 + (high - y) / height * inner[1]:.1f}"

    parts = [_axes(right, low, high, across, up)]
    for number, line in enumerate(lines.values()):
        colour = COLOURS[number % len(COLOURS)]
        band = [place(x, least) for x, _, least, _ in line] + [
            place(x, most) for x, _, _, most in reversed(line)
        ]
        middle = " ".join(place(x, median) for x, median, _, _ in line)
        parts.append(f'<polygon points="{" ".join(band)}" fill="{colour}" opacity="0.12"/>')
        parts.append(f'<polyline points="{middle}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
    return "".join(parts)


def _axes(right: float, low: float, high: float, across: str, up: str) -> str:
    bottom, top = HEIGHT - MARGIN, 10
    parts = [
        f'<path d="M{MARGIN},{top} V{bottom} H{WIDTH - 16}" fill="none" stroke="black"/>',
        f'<text x="{(MARGIN + WIDTH) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{across}</text>',
        f'<text transform="translate(14 {(top + bottom) / 2}) rotate(-90)" text-anchor="middle">{up}</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        x, y = MARGIN + share * (WIDTH - MARGIN - 16), bottom - share * (bottom - top)
        parts.append(f'<text x="{x:.0f}" y="{bottom + 15}" text-anchor="middle">{share * right:.0f}</text>')
        value = low + share * (high - low)
        parts.append(f'<text x="{MARGIN - 4}" y="{y + 4:.0f}" text-anchor="end">{value:.2f}</text>')
    return "".join(parts)


def _legend(arms: Sequence[str]) -> str:
    parts = []
    for number, arm in enumerate(arms):
        x, colour = MARGIN + 120 * number, COLOURS[number % len(COLOURS)]
        parts.append(f'<rect x="{x}" y="11" width="14" height="8" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="19">{arm}</text>')
    return "".join(parts)
