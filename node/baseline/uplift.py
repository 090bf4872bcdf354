"""How a node stands against its silo twin: equal compute, and the difference with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from statistics import NormalDist

from node.storage.events import History, RoundEvent

LEVEL = 0.95  # of the interval


@dataclass(frozen=True, slots=True)
class Point:
    """A reward that a policy had after a round, and the CPU seconds in rounds up to there."""

    round: int
    cpu_seconds: float
    reward: float


@dataclass(frozen=True, slots=True)
class Uplift:
    """Held-out reward of a node and of its twin, and the difference with its interval."""

    own: float
    twin: float
    low: float
    high: float
    cpu_seconds: float  # in rounds, up to the evaluation
    twin_cpu_seconds: float

    @property
    def gain(self) -> float:
        return self.own - self.twin

    @property
    def facts(self) -> dict[str, float]:
        """Every figure by its name, for scripts and the event store."""
        return {**asdict(self), "gain": self.gain}

    @property
    def words(self) -> str:
        return (
            f"what sharing brought: held-out reward {self.own:.3f}, silo twin {self.twin:.3f}: {self.gain:+.3f} "
            f"({LEVEL:.0%} interval {self.low:+.3f} to {self.high:+.3f}); CPU seconds {self.cpu_seconds:.1f} and "
            f"{self.twin_cpu_seconds:.1f}"
        )


def cpu_seconds(rounds: Sequence[RoundEvent]) -> float:
    """Processor time spent in rounds, by all threads."""
    return sum(event.cpu_seconds for event in rounds)


def rounds_to_even(rounds: Sequence[RoundEvent], seconds: float) -> int | None:
    """Up to which round a twin of these `rounds` has to go on to have had `seconds`; None when it has."""
    own = cpu_seconds(rounds)
    if not rounds or own >= seconds:
        return None
    return rounds[-1].round + math.ceil((seconds - own) * len(rounds) / own)


def judged(history: History) -> list[Point]:
    """The evaluations of a run. One whose round is not stored (yet) stands at the seconds of the one before."""
    rounds = history.rounds()
    spent = accumulate(event.cpu_seconds for event in rounds)
    clock = dict(zip((event.round for event in rounds), spent, strict=True))
    points, seconds = [], 0.0
    for event in history.evaluations():
        seconds = clock.get(event.round, seconds)
        points.append(Point(event.round, seconds, event.reward))
    return points


def compare(own: History, twin: History, answers: int) -> Uplift | None:
    """What the newest evaluations in two event stores say; None without both. Each judged by `answers`."""
    mine, control = judged(own)[-1:], judged(twin)[-1:]
    return difference(mine[0], control[0], answers) if mine and control and answers else None


def compare_early(own: History, twin: History, answers: int) -> Uplift | None:
    """The same before both are done: the newest evaluation of whichever had less compute, and the other's nearest.

    None until both were judged after their start, where they are equal.
    """
    mine, control = ([point for point in judged(history) if point.round] for history in (own, twin))
    if not mine or not control or not answers:
        return None
    seconds = min(mine[-1].cpu_seconds, control[-1].cpu_seconds)
    return difference(_nearest(mine, seconds), _nearest(control, seconds), answers)


def difference(own: Point, twin: Point, answers: int) -> Uplift:
    """One evaluation against another, each by `answers`.

    The interval takes the answers for independent and, of rewards in [0, 1] with this mean, for those of the
    largest variance: right or wrong. Chance in the training itself is not in it.
    """
    deviation = math.sqrt((own.reward * (1 - own.reward) + twin.reward * (1 - twin.reward)) / answers)
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * deviation
    gain = own.reward - twin.reward
    return Uplift(own.reward, twin.reward, gain - reach, gain + reach, own.cpu_seconds, twin.cpu_seconds)


def _nearest(points: Sequence[Point], seconds: float) -> Point:
    return min(points, key=lambda point: abs(point.cpu_seconds - seconds))
