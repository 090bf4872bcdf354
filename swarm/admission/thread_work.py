"""Processor seconds of a thread against a limit, asked for as rarely as the answer allows."""

from __future__ import annotations

from time import monotonic

from policies.workers.thread_seconds import thread_seconds


class ThreadWork:
    """What the calling thread has worked since this was made, with its helper processes.

    Asking the system costs up to 0.1 ms, more than reading a rollout does. No thread works for longer than time goes
    by, so it is asked only once that much time has.
    """

    def __init__(self) -> None:
        self._started, self._asked = thread_seconds(), monotonic()
        self._seconds = 0.0  # of work, when last asked

    def exceeds(self, limit: float) -> bool:
        """Whether it is more than `limit` seconds."""
        now = monotonic()
        if self._seconds + now - self._asked <= limit:
            return False
        self._seconds, self._asked = thread_seconds() - self._started, now
        return self._seconds > limit
