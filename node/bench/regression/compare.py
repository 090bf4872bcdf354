"""`murmur bench compare`: the plan of a baseline is run again, and each figure is held to its tolerance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from node.bench.kit.options import BenchError
from node.bench.kit.registry import run_benchmark
from node.bench.kit.report import Interrupted, Progress, Report
from node.bench.regression.baseline import SAME_MACHINE, Baseline, Figure, Measured

Finding = Literal["same", "better", "worse", "moved", "other machine"]
MOVED: tuple[Finding, ...] = ("better", "worse", "moved")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure then and now: medians over the runs, with the range."""

    name: str
    then: float
    then_low: float
    then_high: float
    now: float
    now_low: float
    now_high: float
    change: float  # (now - then) / |then|
    tolerance: float
    finding: Finding

    @property
    def moved(self) -> bool:
        return self.finding in MOVED


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """All figures of a baseline then and now."""

    benchmark: str
    same_machine: bool
    comparisons: Sequence[Comparison]
    runs: int

    @property
    def moved(self) -> list[Comparison]:
        return [comparison for comparison in self.comparisons if comparison.moved]

    def as_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; figures that are not finite become null."""
        figures = [
            {
                key: None if isinstance(v, float) and not math.isfinite(v) else v
                for key, v in asdict(c).items()
            }
            for c in self.comparisons
        ]
        return {
            "benchmark": self.benchmark,
            "same_machine": self.same_machine,
            "runs": self.runs,
            "figures": figures,
            "moved": [comparison.name for comparison in self.moved],
        }


def run_plan(baseline: Baseline, progress: Progress) -> list[Report]:
    """As many reports as the baseline has runs; fewer, but one at least, when Ctrl-C comes after the first.

    Raises BenchError, and Interrupted when it comes in the first.
    """
    reports: list[Report] = []
    for number in range(1, baseline.runs + 1):
        progress(f"run {number} of {baseline.runs}: bench {baseline.benchmark}")
        try:
            reports.append(run_benchmark(baseline.benchmark, baseline.options.as_options(), progress))
        except (Interrupted, KeyboardInterrupt):
            if not reports:
                raise
            progress(f"interrupted: {len(reports)} of {baseline.runs} runs are compared")
            break
    return reports


def compare_with(baseline: Baseline, reports: Sequence[Report]) -> ComparisonReport:
    """Raises BenchError for a baseline without figures, or a report without one of them."""
    then = baseline.measured
    if then is None or then.values.keys() != baseline.figures.keys():
        raise BenchError("this baseline holds no figures for its plan yet: add --update to measure them")
    now = baseline.measured_from(reports).measured
    assert now is not None  # it has just been made
    same = all(then.machine.get(fact) == now.machine.get(fact) for fact in SAME_MACHINE)
    found = [_compared(name, figure, then, now, same) for name, figure in baseline.figures.items()]
    return ComparisonReport(baseline.benchmark, same, found, len(reports))


def _compared(name: str, figure: Figure, then: Measured, now: Measured, same_machine: bool) -> Comparison:
    old, new = then.values[name], now.values[name]
    before, after = statistics.median(old), statistics.median(new)
    change = (after - before) / abs(before) if before else math.copysign(math.inf, after) if after else 0.0
    return Comparison(
        name=name,
        then=before,
        then_low=min(old),
        then_high=max(old),
        now=after,
        now_low=min(new),
        now_high=max(new),
        change=change,
        tolerance=figure.tolerance,
        finding=_finding(figure, change, same_machine),
    )


def _finding(figure: Figure, change: float, same_machine: bool) -> Finding:
    if figure.machine_bound and not same_machine:
        return "other machine"
    if abs(change) <= figure.tolerance:
        return "same"
    if figure.better is None:
        return "moved"
    return "better" if (change < 0) == (figure.better == "lower") else "worse"
