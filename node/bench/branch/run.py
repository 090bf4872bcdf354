"""`murmur bench branch`: BranchGRPO on real digits against sequential groups, a sliding window and the forward process.

All arms play in turns, iteration by iteration, in one process; images of an evaluation come from one noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from node.bench.branch.arms import ARMS, Arm, Point
from node.bench.branch.plot import draw
from node.bench.kit.options import BenchOptions, refuse_unknown
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from policies.diffusion.settings import DigitsSource
from policies.tasks.digits import build_digits_task
from policies.tasks.task import TaskSpec

SEEDS = 5
ITERATIONS = 30
EVERY = 5  # iterations between evaluations
BASELINE, OURS = "sequential", "branch"
PAPER = {
    "half_cpu": "-",
    "pruned_ratio": "698 s / 314 s = 2.22 (FLUX, 16 H200)",
    "mix_ratio": "698 s / 148 s = 4.7 (FLUX, 16 H200)",
    "our_ratio": "-",
    "judge_gap": "-",
}
FLOORS = {"pruned_ratio": 2.22, "mix_ratio": 4.7, "judge_gap": -0.02}
CEILINGS = {"half_cpu": 0.5}

Race = dict[str, Arm]  # all arms under one seed


def run(options: BenchOptions, progress: Progress) -> Report:
    """Raises BenchError for an unknown arm, Interrupted with the seeds that are complete on Ctrl-C."""
    refuse_unknown("arm", options.cases, ARMS)
    names = [name for name in ARMS if name in (options.cases or ARMS)]
    seeds, races = range(options.repeats or SEEDS), list[Race]()
    try:
        for seed in seeds:
            races.append(_race(names, seed, options.rounds or ITERATIONS, progress))
    except KeyboardInterrupt:
        raise Interrupted(_report(options, seeds, races)) from None
    if options.plot:
        curves = {name: [race[name].points for race in races] for name in names}
        options.plot.write_text(draw(curves), encoding="utf-8")
    return _report(options, seeds, races)


def _race(names: Sequence[str], seed: int, iterations: int, progress: Progress) -> Race:
    task = build_digits_task(TaskSpec("digits"))
    race = {name: Arm(name, task, DigitsSource(), seed) for name in names}
    for iteration in range(iterations + 1):
        for arm in race.values():
            if iteration:
                arm.iterate()
            if iteration % EVERY == 0 or iteration == iterations:
                point = arm.evaluate()
                progress(
                    f"seed {seed}, iteration {iteration}, {arm.name}: reward {point.reward:.3f}, "
                    f"judge {point.judged:.3f}, {point.seconds:.1f} CPU s"
                )
    return race


def _report(options: BenchOptions, seeds: Sequence[int], races: Sequence[Race]) -> Report:
    rows = [
        _row(seed, arm.name, point)
        for seed, race in zip(seeds, races, strict=False)
        for arm in race.values()
        for point in arm.points
    ]
    return Report("branch", options.machine, list(seeds), rows, checks(races))


def checks(races: Sequence[Race]) -> list[Check]:
    """The figures of every seed whose arms took part."""
    figures: dict[str, list[float]] = {name: [] for name in PAPER}
    for race in races:
        if BASELINE not in race:
            continue
        baseline = race[BASELINE].points[-1]
        if OURS in race:
            ours = race[OURS].points
            reached = place_of(ours, baseline.reward)
            figures["half_cpu"].append(at(ours, reached, "seconds") / baseline.seconds)
            figures["judge_gap"].append(at(ours, reached, "judged") - baseline.judged)
            figures["our_ratio"].append(baseline.seconds / ours[-1].seconds)
        if "mix" in race:
            figures["mix_ratio"].append(baseline.seconds / race["mix"].points[-1].seconds)
        if "pruned" in race:
            figures["pruned_ratio"].append(baseline.seconds / race["pruned"].points[-1].seconds)
    return [
        Check.of(
            name,
            found,
            paper=PAPER[name],
            floor=FLOORS.get(name, -math.inf),
            ceiling=CEILINGS.get(name, math.inf),
        )
        for name, found in figures.items()
        if found
    ]


def place_of(points: Sequence[Point], reward: float) -> float:
    """Where a curve first reaches a reward, in places of `points`, between two of them by a straight line.

    Infinite when it does not.
    """
    for place, point in enumerate(points):
        if point.reward >= reward:
            if not place:
                return 0.0
            before = points[place - 1].reward  # below `reward`, or the loop had ended there
            return place - (point.reward - reward) / (point.reward - before)
    return math.inf


def at(points: Sequence[Point], place: float, field: str) -> float:
    """A figure at a place that may lie between two points; at an infinite one the last, but infinite seconds."""
    if math.isinf(place):
        return math.inf if field == "seconds" else float(getattr(points[-1], field))
    first = min(int(place), len(points) - 1)
    second = min(first + 1, len(points) - 1)
    low, high = (float(getattr(points[index], field)) for index in (first, second))
    return low + (place - first) * (high - low)


def _row(seed: int, name: str, point: Point) -> Row:
    return {
        "seed": seed,
        "arm": name,
        "iteration": point.iteration,
        "reward": point.reward,
        "judge": point.judged,
        "sampled": point.sampled,
        "trained": point.trained,
        "evaluations": point.evaluations,
        "rollout_cpu_s": point.rollout_seconds,
        "training_cpu_s": point.training_seconds,
        "cpu_s": point.seconds,
    }
