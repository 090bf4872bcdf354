"""Fetches side by side until enough bodies are good. Failed and silent publishers give their turn to further ones."""

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
Take = Callable[[Announcement, bytes], bool]

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

    def gather(self, candidates: Iterable[Announcement], wanted: int, deadline: float, take: Take) -> None:
        """Fetches `candidates` in their order until `take` was content with `wanted` bodies.

        Returns within about `deadline` seconds, with fewer if need be. Raises what `take` raises.
        """
        untried, end = deque(candidates), time.monotonic() + deadline
        while True:
            wanted -= self._collect(take)
            now = time.monotonic()
            awaited = [errand for errand in self._running if errand.overdue > now]
            while untried and len(awaited) < min(self.parallel, wanted) and self._has_room():
                awaited.append(self._send(untried.popleft()))
            if wanted <= 0 or not awaited or now >= end:
                return
            until = min(end, *(errand.overdue for errand in awaited))
            wait([errand.body for errand in self._running], until - now, FIRST_COMPLETED)

    def busy_with(self, announcement: Announcement) -> bool:
        """Whether its body is under way."""
        return any(errand.announcement == announcement for errand in self._running)

    def close(self) -> None:
        """Begins no further fetch; those under way end with the transport."""
        self._running.clear()
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._threads = None

    def _collect(self, take: Take) -> int:
        """Takes what has come; returns how many bodies counted."""
        done = [errand for errand in self._running if errand.body.done()]
        self._running = [errand for errand in self._running if errand not in done]
        bodies = ((errand.announcement, errand.body.result()) for errand in done)
        return sum(take(announcement, body) for announcement, body in bodies if body is not None)

    def _has_room(self) -> bool:
        return len(self._running) < self.parallel + _STRAGGLERS

    def _send(self, announcement: Announcement) -> _PendingFetch:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.parallel + _STRAGGLERS, thread_name_prefix="fetch")
        body = self._threads.submit(self.fetch, announcement)
        errand = _PendingFetch(announcement, time.monotonic() + self.patience, body)
        self._running.append(errand)
        return errand
