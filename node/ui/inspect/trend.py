"""The trend of a run: its own reward in the last rounds against the rounds before them, and so whether it learns."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from node.storage.events import EvaluationEvent, RoundEvent
from swarm.visible_text import counted

State = Literal["rising", "level", "falling", "unknown"]
LONGEST: Final = 20  # rounds of either stretch
SHORTEST: Final = 3
DOUBT: Final = 2.0  # standard errors within which a difference does not count
VERDICTS: Final = {
    "rising": "It is still learning",
    "level": "Level of late",
    "falling": "It is falling",
}


@dataclass(frozen=True, slots=True)
class Trend:
    """Two neighbouring stretches of rounds compared; figures are None where there are too few rounds."""

    state: State
    words: str
    before: float | None = None  # mean reward of own rollouts
    now: float | None = None
    doubt: float | None = None  # DOUBT standard errors of the difference
    rounds: int = 0  # of each stretch


def trend_of(rounds: Sequence[RoundEvent], evaluations: Sequence[EvaluationEvent]) -> Trend:
    """Rounds' rewards are taken as independent draws; problems of unlike difficulty are part of their spread."""
    length = min(LONGEST, len(rounds) // 2)
    if length < SHORTEST:
        told = f"Too few to say whether it learns: {counted(len(rounds), 'round')}; {2 * SHORTEST} say a first word."
        return Trend("unknown", told + _held_out(evaluations))
    rewards = [event.reward for event in rounds[-2 * length :]]
    before, now = rewards[:length], rewards[length:]
    variance = (statistics.variance(before) + statistics.variance(now)) / length
    doubt, change = DOUBT * math.sqrt(variance), statistics.fmean(now) - statistics.fmean(before)
    state: State = "rising" if change > doubt else "falling" if change < -doubt else "level"
    words = (
        f"{VERDICTS[state]}: own reward {statistics.fmean(now):.3f} in the last {length} rounds, "
        f"{statistics.fmean(before):.3f} in the {length} before ({change:+z.3f}, give or take {doubt:.3f})."
    )
    told = words + _held_out(evaluations)
    return Trend(state, told, statistics.fmean(before), statistics.fmean(now), doubt, length)


def _held_out(evaluations: Sequence[EvaluationEvent]) -> str:
    if not evaluations:
        return ""
    first, last = evaluations[0], evaluations[-1]
    best = max(evaluations, key=lambda event: event.reward)
    if first is last:
        return f" Held-out reward: {first.reward:.3f} after round {first.round}."
    return (
        f" Held-out reward: {first.reward:.3f} after round {first.round}, {last.reward:.3f} after round {last.round}, "
        f"at best {best.reward:.3f} after round {best.round}."
    )
