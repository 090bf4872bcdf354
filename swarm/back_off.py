"""Back-off: how long to wait before what has failed is tried again."""

from __future__ import annotations

import random

_STEADY = 60.0  # seconds up after which a failure counts as the first again
_FIRST, _LONGEST = 0.25, 30.0  # seconds of the pauses after it: each is twice the one before
_DOUBLINGS = 16  # beyond the longest pause; a power of two with a day's failures is more than a float holds


class BackOff:
    """Of one thing that is kept running. Pauses are drawn, so that peers of one outage do not all come back at once."""

    def __init__(self) -> None:
        self.failures = 0  # in a row

    def after(self, lived: float) -> float:
        """Seconds to wait after a failure that came `lived` seconds after the start."""
        self.failures = 0 if lived > _STEADY else self.failures + 1
        pause = min(_LONGEST, _FIRST * 2.0 ** min(self.failures, _DOUBLINGS))
        return pause * random.uniform(0.5, 1.0)
