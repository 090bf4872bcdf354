"""The difference between a node and its silo baseline in held-out reward, with its interval; over several too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from statistics import NormalDist, fmean

from node.config.schema import Config
from node.storage.events import History
from swarm.visible_text import counted

LEVEL = 0.95  # of the interval


@dataclass(frozen=True, slots=True)
class Point:
    """A reward that a policy had after a round, and the CPU seconds in rounds up to there."""

    round: int
    cpu_seconds: float
    reward: float


@dataclass(frozen=True, slots=True)
class Uplift:
    """Held-out reward of a node and of its baseline, and the difference with its interval."""

    own: float
    baseline: float
    low: float
    high: float
    cpu_seconds: float  # in rounds, up to the evaluation
    baseline_cpu_seconds: float

    @property
    def gain(self) -> float:
        return self.own - self.baseline

    @property
    def as_dict(self) -> dict[str, float]:
        """Every figure by its name, for scripts and the event store."""
        return {**asdict(self), "gain": self.gain}

    @property
    def summary(self) -> str:
        return (
            f"what sharing brought: held-out reward {self.own:.3f}, silo baseline {self.baseline:.3f}: "
            f"{self.gain:+z.3f} ({LEVEL:.0%} interval {self.low:+z.3f} to {self.high:+z.3f}); "
            f"CPU seconds {self.cpu_seconds:.1f} and {self.baseline_cpu_seconds:.1f}"
        )


@dataclass(frozen=True, slots=True)
class PooledUplift:
    """Mean difference over several nodes and their baselines, with its interval."""

    gain: float
    low: float
    high: float
    nodes: int

    @property
    def summary(self) -> str:
        return (
            f"{self.gain:+z.3f} over {counted(self.nodes, 'node')} "
            f"({LEVEL:.0%} interval {self.low:+z.3f} to {self.high:+z.3f})"
        )


def answers_of(config: Config) -> int:
    """How many held-out problems an evaluation of this config answers."""
    return config.evaluation.problems * len(config.tasks)


def evaluations_by_cpu(history: History) -> list[Point]:
    """The evaluations of a run. One whose round is not stored (yet) stands at the seconds of the one before."""
    rounds = history.rounds()
    spent = accumulate(event.cpu_seconds for event in rounds)
    clock = dict(zip((event.round for event in rounds), spent, strict=True))
    points, seconds = [], 0.0
    for event in history.evaluations():
        seconds = clock.get(event.round, seconds)
        points.append(Point(event.round, seconds, event.reward))
    return points


def compare(own: History, baseline: History, answers: int) -> Uplift | None:
    """What the newest evaluations in two event stores say; None without both. Each evaluation is of `answers`."""
    mine, control = evaluations_by_cpu(own)[-1:], evaluations_by_cpu(baseline)[-1:]
    return difference(mine[0], control[0], answers) if mine and control and answers else None


def compare_early(own: History, baseline: History, answers: int) -> Uplift | None:
    """The same before both are done: the newest evaluation of whichever had less compute, and the other's nearest.

    None until both were evaluated after their start, where they are equal.
    """
    mine, control = (
        [point for point in evaluations_by_cpu(history) if point.round] for history in (own, baseline)
    )
    if not mine or not control or not answers:
        return None
    seconds = min(mine[-1].cpu_seconds, control[-1].cpu_seconds)
    return difference(_nearest(mine, seconds), _nearest(control, seconds), answers)


def difference(own: Point, baseline: Point, answers: int) -> Uplift:
    """One evaluation against another, each of `answers`.

    The interval takes the answers for independent and, of rewards in [0, 1] with this mean, for those of the
    largest variance: right or wrong. Chance in the training itself is not in it.
    """
    deviation = math.sqrt((own.reward * (1 - own.reward) + baseline.reward * (1 - baseline.reward)) / answers)
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * deviation
    gain = own.reward - baseline.reward
    return Uplift(
        own.reward, baseline.reward, gain - reach, gain + reach, own.cpu_seconds, baseline.cpu_seconds
    )


def pooled(uplifts: Sequence[Uplift]) -> PooledUplift | None:
    """The mean of several differences, taken for independent; None of none."""
    if not uplifts:
        return None
    gain = fmean(uplift.gain for uplift in uplifts)
    reach = math.hypot(*((uplift.high - uplift.low) / 2 for uplift in uplifts)) / len(uplifts)
    return PooledUplift(gain, gain - reach, gain + reach, len(uplifts))


def _nearest(points: Sequence[Point], seconds: float) -> Point:
    return min(points, key=lambda point: abs(point.cpu_seconds - seconds))
