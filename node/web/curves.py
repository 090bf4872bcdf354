"""Curves as a screen can show them: rewards over rounds and CPU seconds, smoothed and thinned. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import accumulate

from node.baseline.uplift import Point
from node.storage.events import RoundEvent

MAX_POINTS = 400  # of a curve; no screen shows more apart
RECENT = 5  # rounds in the moving mean


def curve(rounds: Sequence[RoundEvent]) -> list[Point]:
    spent = accumulate(event.cpu_seconds for event in rounds)
    return [Point(event.round, cpu, event.reward) for event, cpu in zip(rounds, spent, strict=True)]


def moving(curve: Sequence[Point]) -> list[Point]:
    windows = (curve[max(0, end - RECENT) : end] for end in range(1, len(curve) + 1))
    return [_mean(window) for window in windows]


def thinned(curve: Sequence[Point]) -> list[Point]:
    """At most MAX_POINTS, each the mean of its stretch of the curve and placed at the stretch's end."""
    step = max(1, -(-len(curve) // MAX_POINTS))
    return [_mean(curve[start : start + step]) for start in range(0, len(curve), step)]


def _mean(stretch: Sequence[Point]) -> Point:
    return Point(
        stretch[-1].round, stretch[-1].cpu_seconds, statistics.fmean(point.reward for point in stretch)
    )
