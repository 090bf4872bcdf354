"""The fetch pool fetches bodies in parallel until enough are good; failed and silent publishers give way to others.

Its places are shared between networks: names are free, so a host that gave nothing yet holds two of them at most and
its subnet four, and some are kept for peers that did give something.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from swarm.sampling.newcomer_places import IDENTITIES_OF_SUBNET, IsKnown, nobody_is_known, subnet_of
from swarm.wire.announcement import Announcement

# Returns the body, or None when there is none to be had. Never raises.
Fetch = Callable[[Announcement], bytes | None]
# Whether the body of an announcement counts.
Accept = Callable[[Announcement, bytes], bool]

# Fetches under way from newcomers at one address: two nodes behind one router need not wait in turn.
_OF_ADDRESS = 2
_STRAGGLERS = 12  # fetches that are waited for no longer, and go on; newcomers hold no more places than these


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
    is_known: IsKnown = nobody_is_known  # a known peer's places are not counted against its network
    _running: list[_PendingFetch] = field(default_factory=list)
    _threads: ThreadPoolExecutor | None = None

    def gather(
        self,
        candidates: Iterable[Announcement],
        wanted: int,
        deadline: float,
        accept: Accept,
        patience_with: Callable[[str], float] | None = None,
    ) -> None:
        """Fetches `candidates` in their order until `accept` was content with `wanted` bodies.

        Returns within about `deadline` seconds, with fewer if need be. `patience_with` gives the seconds that a peer's
        fetch is waited for, where that is not the same for all. Raises what `accept` raises.
        """
        untried, end = list(candidates), time.monotonic() + deadline
        while True:
            wanted -= self._collect(accept)
            self._send_next(untried, wanted, patience_with or (lambda peer: self.patience))
            now = time.monotonic()
            awaited = [pending for pending in self._running if pending.overdue > now]
            if wanted <= 0 or not awaited or now >= end:
                return
            until = min(end, *(pending.overdue for pending in awaited))
            wait([pending.body for pending in self._running], max(0.0, until - now), FIRST_COMPLETED)

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

    def _send_next(
        self, untried: list[Announcement], wanted: int, patience_with: Callable[[str], float]
    ) -> None:
        """Begins fetches of `untried`, and takes these out of it, as far as there are places."""
        now = time.monotonic()
        free = min(self.parallel, wanted) - sum(pending.overdue > now for pending in self._running)
        for announcement in list(untried):
            if free <= 0:
                return
            if self._has_room(announcement):
                untried.remove(announcement)
                self._send(announcement, now + patience_with(announcement.peer))
                free -= 1

    def _has_room(self, announcement: Announcement) -> bool:
        if len(self._running) >= self.parallel + _STRAGGLERS:
            return False
        if self.is_known(announcement.peer):
            return True
        running = [pending.announcement for pending in self._running]
        newcomers = [other for other in running if not self.is_known(other.peer)]
        hosts = Counter(other.host for other in newcomers)
        subnets = Counter(subnet_of(other.host) for other in newcomers)
        return (
            len(newcomers) < _STRAGGLERS
            and all(other.peer != announcement.peer for other in newcomers)
            and hosts[announcement.host] < _OF_ADDRESS
            and subnets[subnet_of(announcement.host)] < IDENTITIES_OF_SUBNET
        )

    def _send(self, announcement: Announcement, overdue: float) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.parallel + _STRAGGLERS, thread_name_prefix="fetch")
        body = self._threads.submit(self.fetch, announcement)
        self._running.append(_PendingFetch(announcement, overdue, body))
