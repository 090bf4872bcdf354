"""The report of a benchmark: one JSON object for scripts, a table for people.

`{"name", "machine", "seeds", "rows": [...], "checks": [{"name", "paper", "ours", "low", "high", "band", "holds"}]}`
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Row: TypeAlias = Mapping[str, str | int | float | bool | None]
Progress: TypeAlias = Callable[[str], None]  # one line on what is being measured now

LEVEL = 0.95  # of an interval


@dataclass(frozen=True, slots=True)
class Check:
    """One figure against the band that is asked of it."""

    name: str
    paper: str  # what the paper or the reference reports, in words; "-" where there is none
    ours: float  # the median
    low: float  # the spread: smallest and largest of the repeats
    high: float
    floor: float = -math.inf  # the band that `ours` must lie in
    ceiling: float = math.inf

    @classmethod
    def of(
        cls,
        name: str,
        figures: Sequence[float],
        *,
        paper: str = "-",
        floor: float = -math.inf,
        ceiling: float = math.inf,
    ) -> Check:
        """The median and the range of repeated `figures`."""
        return cls(name, paper, statistics.median(figures), min(figures), max(figures), floor, ceiling)

    @property
    def holds(self) -> bool:
        return self.floor <= self.ours <= self.ceiling


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark measured."""

    name: str
    machine: Mapping[str, str | int | float | bool | None]
    seeds: Sequence[int]
    rows: Sequence[Row]
    checks: Sequence[Check]
    complete: bool = True  # False where a signal ended it before all was measured

    def as_json(self) -> dict[str, object]:
        """Plain values for `json.dumps`. JSON knows no infinity: an open end of a band is null."""
        return {
            "name": self.name,
            "machine": _finite(self.machine),
            "seeds": list(self.seeds),
            "rows": [_finite(row) for row in self.rows],
            "checks": [_check_as_json(check) for check in self.checks],
            "complete": self.complete,
        }


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came while a benchmark ran; `report` holds what was measured before it."""

    def __init__(self, report: Report) -> None:
        super().__init__("interrupted")
        self.report = report


def _check_as_json(check: Check) -> dict[str, object]:
    figures = {"ours": check.ours, "low": check.low, "high": check.high}
    band = _finite({"floor": check.floor, "ceiling": check.ceiling})
    return {
        "name": check.name,
        "paper": check.paper,
        **_finite(figures),
        "band": list(band.values()),
        "holds": check.holds,
    }


def _finite(row: Row) -> dict[str, str | int | float | bool | None]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def spread(column: str, figures: Sequence[float]) -> dict[str, float]:
    """Of a figure over seeds: the mean as `column`, the smallest and the largest as `column_low` and `column_high`."""
    return {column: statistics.fmean(figures), f"{column}_low": min(figures), f"{column}_high": max(figures)}


def interval(column: str, figures: Sequence[float]) -> dict[str, float | None]:
    """The mean as `column`, and Student's 95 % interval over seeds as `_low` and `_high`: None from one seed."""
    from scipy.stats import t as student  # slow to import, and most reports have none

    low = high = None
    mean = statistics.fmean(figures) if figures else None
    if mean is not None and len(figures) > 1:
        error = statistics.stdev(figures) / math.sqrt(len(figures))
        reach = float(student.ppf((1 + LEVEL) / 2, len(figures) - 1)) * error
        low, high = mean - reach, mean + reach
    return {column: mean, f"{column}_low": low, f"{column}_high": high}
