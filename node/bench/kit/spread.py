"""Columns of a figure that was measured over several seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(column: str, figures: Sequence[float]) -> dict[str, float]:
    """The mean of `figures` as `column`, the smallest and the largest as `column_low` and `column_high`."""
    return {column: statistics.fmean(figures), f"{column}_low": min(figures), f"{column}_high": max(figures)}
