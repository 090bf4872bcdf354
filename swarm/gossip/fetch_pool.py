"""The fetch pool fetches bodies in parallel until enough are good; failed and silent publishers give way to others."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from swarm.wire.announcement import Announcement

# Returns the body, or None when there is none to be had. Never raises.
Fetch = Callable[[Announcement], bytes | None]
# Whether the body of an announcement counts.
Accept = Callable[[Announcement, bytes], bool]

_STRAGGLERS = 12  # fetches that are waited for no longer, and go on


@dataclass(frozen=True, slots=True)
class _PendingFetch:
    announcement: Announcement
    overdue: float  # monotonic seconds after which its place is another's
    body: Future[bytes | None]


@dataclass(slots=True)
class FetchPool:
    """One caller at a time. What comes late is taken in the next call, so nothing that was fetched is lost."""

    fetch: Fetch
    parallel: int  # fetches that are waited for at a time
    patience: float  # seconds that one fetch is waited for
    _running: list[_PendingFetch] = field(default_factory=list)
    _threads: ThreadPoolExecutor | None = None

    def gather(
        self, candidates: Iterable[Announcement], wanted: int, deadline: float, accept: Accept
    ) -> None:
        """Fetches `candidates` in their order until `accept` was content with `wanted` bodies.

        Returns within about `deadline` seconds, with fewer if need be. Raises what `accept` raises.
        """
        untried, end = deque(candidates), time.monotonic() + deadline
        while True:
            wanted -= self._collect(accept)
            now = time.monotonic()
            awaited = [pending for pending in self._running if pending.overdue > now]
            while untried and len(awaited) < min(self.parallel, wanted) and self._has_room():
                awaited.append(self._send(untried.popleft()))
            if wanted <= 0 or not awaited or now >= end:
                return
            until = min(end, *(pending.overdue for pending in awaited))
            wait([pending.body for pending in self._running], until - now, FIRST_COMPLETED)

    def busy_with(self, announcement: Announcement) -> bool:
        """Whether its body is under way."""
        return any(pending.announcement == announcement for pending in self._running)

    def close(self) -> None:
        """Begins no further fetch; those under way end with the transport."""
        self._running.clear()
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._threads = None

    def _collect(self, accept: Accept) -> int:
        """Takes what has come; returns how many bodies counted."""
        done = [pending for pending in self._running if pending.body.done()]
        self._running = [pending for pending in self._running if pending not in done]
        bodies = ((pending.announcement, pending.body.result()) for pending in done)
        return sum(accept(announcement, body) for announcement, body in bodies if body is not None)

    def _has_room(self) -> bool:
        return len(self._running) < self.parallel + _STRAGGLERS

    def _send(self, announcement: Announcement) -> _PendingFetch:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.parallel + _STRAGGLERS, thread_name_prefix="fetch")
        body = self._threads.submit(self.fetch, announcement)
        pending = _PendingFetch(announcement, time.monotonic() + self.patience, body)
        self._running.append(pending)
        return pending
