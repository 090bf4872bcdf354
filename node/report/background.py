"""A tracker in a thread of its own, so that what it waits for, or fails at, is nothing to the training loop."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from node.report.extras import EXTRAS, missing
from node.report.samples import Sample
from node.report.trackers import Tracker
from policies.error_words import brief

logger = logging.getLogger(__name__)

WAITING = 256  # rounds that a slow tracker may lag behind; later ones are left out
# For what is left to be written at the end of a run; a short one may end before a library is loaded.
LAST_SECONDS = 60.0
_Line = tuple[int, Mapping[str, float], Sequence[Sample]]


class BackgroundTracker:
    """Makes a tracker, feeds it and closes it in its thread; the first failure is the last thing it does."""

    def __init__(self, kind: str, make: Callable[[], Tracker]) -> None:
        self._kind, self._make = kind, make
        self._queue: queue.Queue[_Line | None] = queue.Queue(WAITING)
        self._words: list[str] = []
        self._lagging = self._failed = self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"tracker {kind}", daemon=True)
        self._thread.start()

    def log(self, round_number: int, figures: Mapping[str, float], samples: Sequence[Sample] = ()) -> None:
        """Returns at once."""
        if self._failed:
            return
        try:
            self._queue.put_nowait((round_number, figures, samples))
        except queue.Full:
            if not self._lagging:
                self._say(f"lags {WAITING} rounds behind: rounds are left out of it")
            self._lagging = True

    def new_words(self) -> list[str]:
        """What its owner should hear since the last call."""
        new, self._words = self._words, []
        return new

    def close(self) -> None:
        """Waits LAST_SECONDS or so for what is left. Idempotent."""
        if self._closed:
            return
        self._closed = True
        with suppress(queue.Full):
            self._queue.put(None, timeout=LAST_SECONDS)
            self._thread.join(LAST_SECONDS)
        if self._thread.is_alive():
            self._say("did not end in time and was left")

    def _run(self) -> None:
        try:
            tracker = self._make()
            while (item := self._queue.get()) is not None:
                number, figures, samples = item
                tracker.log(number, figures)
                if samples:
                    tracker.log_samples(number, samples)
            tracker.close()
        except Exception as error:  # noqa: BLE001  a library's own errors, of any kind: the run goes on without it
            lacks = isinstance(error, ImportError) and self._kind in EXTRAS
            self._fail(missing(self._kind, error) if lacks else _told(error))  # type: ignore[arg-type]

    def _fail(self, why: str) -> None:
        self._failed = True
        self._say(f"is left out from now on ({why})")
        logger.debug("tracker %s", self._kind, exc_info=True)
        with suppress(queue.Empty):  # whoever waits for a place gets one
            while True:
                self._queue.get_nowait()

    def _say(self, words: str) -> None:
        line = " ".join(f"tracker {self._kind} {words}".split())
        logger.warning("%s", line)
        self._words.append(line)


def _told(error: Exception) -> str:
    """The system's errors in its own words; a library's are known by their kind."""
    return brief(error) if isinstance(error, OSError) else f"{type(error).__name__}: {brief(error)}"
