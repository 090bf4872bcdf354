"""How a node stands against its silo twin: equal compute, and the difference with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

from node.store import History, RoundEvent

LEVEL = 0.95  # of the interval


@dataclass(frozen=True, slots=True)
class Uplift:
    """Newest held-out reward of a node and of its twin, and the difference with its interval."""

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


def compare(own: History, twin: History, answers: int) -> Uplift | None:
    """What the newest evaluations in two event stores say; None without both. Each judged by `answers`.

    The interval takes the answers for independent and, of rewards in [0, 1] with this mean, for those of the
    largest variance: right or wrong. Chance in the training itself is not in it.
    """
    ends = [history.evaluations()[-1:] for history in (own, twin)]
    if not all(ends) or not answers:
        return None
    mine, control = (end[0].reward for end in ends)
    spent = [
        cpu_seconds([event for event in history.rounds() if event.round <= end[0].round])
        for history, end in zip((own, twin), ends, strict=True)
    ]
    deviation = math.sqrt((mine * (1 - mine) + control * (1 - control)) / answers)
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * deviation
    gain = mine - control
    return Uplift(mine, control, gain - reach, gain + reach, *spent)
