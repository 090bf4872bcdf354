"""The virtual clock runs processes, generators that yield the seconds they wait, in the order of their times."""

from __future__ import annotations

import heapq
from collections.abc import Generator, Sequence
from typing import TypeAlias

Process: TypeAlias = Generator[float, None, None]


class VirtualClock:
    """What happens when. Nothing sleeps: time jumps from one event to the next."""

    def __init__(self, start: float) -> None:
        """`start` in Unix seconds."""
        self.now = start
        self.events = 0
        self._due: list[tuple[float, int, Process]] = []
        self._order = 0  # processes that are due at one time run in the order in which they were put there

    def start(self, process: Process, at: float | None = None) -> None:
        """Lets `process` run from `at` on, by default from now."""
        self._order += 1
        heapq.heappush(self._due, (self.now if at is None else max(at, self.now), self._order, process))

    def run_until(self, end: float) -> None:
        """Plays all that is due before `end`, which is then the time."""
        while self._due and self._due[0][0] < end:
            self.now, _, process = heapq.heappop(self._due)
            self.events += 1
            wait = next(process, None)
            if wait is not None:
                self.start(process, self.now + wait)
        self.now = end

    def side_by_side(self, processes: Sequence[Process]) -> Process:
        """One process that is all of `processes` at once, and ends with the last of them."""
        due = [(self.now, order, process) for order, process in enumerate(processes)]
        while due:
            at, order, process = heapq.heappop(due)
            if at > self.now:
                yield at - self.now
            wait = next(process, None)
            if wait is not None:
                heapq.heappush(due, (self.now + wait, order, process))
