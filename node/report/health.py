"""The state of a run in one word: `starting`, `ok`, `alone`, `diverging` or `stale`, and the HTTP status that says it.

503 is for a run that does not learn: whatever watches over it may start it anew. A run that hears no peer trains on
by itself, and one that starts is not done loading; both answer 200.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from node.config.sections.metrics import MetricsConfig
from node.storage.events import RoundEvent

State = Literal["starting", "ok", "alone", "diverging", "stale"]
STATES: dict[State, HTTPStatus] = {
    "starting": HTTPStatus.OK,
    "ok": HTTPStatus.OK,
    "alone": HTTPStatus.OK,
    "diverging": HTTPStatus.SERVICE_UNAVAILABLE,
    "stale": HTTPStatus.SERVICE_UNAVAILABLE,
}
REMEMBERED = 32  # rounds whose median length counts
SHORTEST_PATIENCE = 30.0  # seconds: an evaluation or a slow disk amid rounds of a second is no standstill


@dataclass(frozen=True, slots=True)
class Standing:
    """How the run is at one moment."""

    state: State
    round: int | None  # the newest one; None before the first
    silence: float  # seconds since the run was last seen to get on
    patience: float  # seconds of silence from which it is stale
    why: str = ""  # of a state that is not ok

    @property
    def status(self) -> HTTPStatus:
        return STATES[self.state]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": self.state,
            "round": self.round,
            "seconds_since_progress": round(self.silence, 1),
            "stale_after_seconds": round(self.patience, 1),
            "why": self.why,
        }


class Health:
    """Told of every round and evaluation in the loop's thread; asked in any."""

    def __init__(self, settings: MetricsConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._seen = clock()
        self._last: RoundEvent | None = None
        self._lengths: deque[float] = deque(maxlen=REMEMBERED)
        self._patience = settings.start_seconds

    def on_round(self, event: RoundEvent) -> None:
        self._lengths.append(event.seconds)
        median = statistics.median(self._lengths)
        self._patience = max(SHORTEST_PATIENCE, self._settings.stale_after * median)
        self._last, self._seen = event, self._clock()

    def on_evaluation(self) -> None:
        """An evaluation is a sign of life too: it may take longer than many rounds."""
        self._seen = self._clock()

    def standing(self) -> Standing:
        """How the run is now."""
        last, silence = self._last, self._clock() - self._seen
        state, why = _state(last, silence, self._patience)
        return Standing(state, last.round if last else None, silence, self._patience, why)


def _state(last: RoundEvent | None, silence: float, patience: float) -> tuple[State, str]:
    if silence > patience:
        return "stale", f"no round ended for {silence:.0f} s"
    if last is None:
        return "starting", "the first round has not ended yet"
    if last.diverged is not None:
        return "diverging", last.diverged
    if last.alone:
        return "alone", last.silence
    return "ok", ""
