"""Curves as a screen can show them: rewards over rounds and CPU seconds, smoothed and thinned. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

from node.baseline.uplift import Point
from node.storage.events import RoundEvent

MAX_POINTS = 400  # of a curve; no screen shows more apart
RECENT = 5  # rounds in the moving mean

T = TypeVar("T")


def curve(rounds: Sequence[RoundEvent]) -> list[Point]:
    """The own reward of each round, at the CPU seconds of all rounds up to it."""
    spent = accumulate(event.cpu_seconds for event in rounds)
    return [Point(event.round, cpu, event.reward) for event, cpu in zip(rounds, spent, strict=True)]


def moving(curve: Sequence[Point]) -> list[Point]:
    """The mean of each point and of those before it, RECENT in all."""
    windows = (curve[max(0, end - RECENT) : end] for end in range(1, len(curve) + 1))
    return [_mean(window) for window in windows]


def thinned(curve: Sequence[Point]) -> list[Point]:
    """At most MAX_POINTS, each the mean of its stretch of the curve and placed at the stretch's end."""
    return [_mean(stretch) for stretch in stretches(curve)]


def stretches(values: Sequence[T]) -> list[Sequence[T]]:
    """One after the other, of equal length but for the last, and at most MAX_POINTS of them."""
    step = max(1, -(-len(values) // MAX_POINTS))
    return [values[start : start + step] for start in range(0, len(values), step)]


def _mean(stretch: Sequence[Point]) -> Point:
    return Point(
        stretch[-1].round, stretch[-1].cpu_seconds, statistics.fmean(point.reward for point in stretch)
    )
