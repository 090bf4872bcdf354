"""Stream slots: the streams that one server reads requests from and answers at a time, shared between peers and hosts.

A stream takes a slot only once its request was read. Until then it may be closed for others: the oldest goes of the
peer, or the host, that has most. Slots are kept for known peers; others share half of them, a host a quarter.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from swarm.sampling.newcomer_places import IsKnown, nobody_is_known

REQUEST_TIMEOUT = 3.0  # seconds to receive a request, of 2 KiB at most
MAX_UNREAD = 64  # streams whose request did not come yet
MAX_UNREAD_OF_PEER = 4
MAX_UNREAD_OF_HOST = 16  # peers that are known apart


@dataclass(frozen=True, slots=True)
class _Unread:
    peer: str
    host: str
    limit: asyncio.Timeout


class StreamSlots:
    """Of one server, in one event loop. Counts `silent_streams`: those that were closed without a request."""

    def __init__(
        self, slots: int, of_peer: int, counters: Counter[str], is_known: IsKnown = nobody_is_known
    ) -> None:
        """`slots` answers under way at once, `of_peer` of them for one peer."""
        self._slots, self._of_peer = slots, of_peer
        self._counters, self._is_known = counters, is_known
        self._ids = itertools.count()
        self._unread: dict[int, _Unread] = {}  # oldest first
        self._answering: Counter[tuple[str, str]] = Counter()  # by peer and host

    @asynccontextmanager
    async def reading(self, peer: str, host: str) -> AsyncIterator[None]:
        """Holds while a request is read. Raises TimeoutError in it when it takes too long, or others need the place."""
        number = next(self._ids)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT) as limit:
                self._unread[number] = _Unread(peer, host, limit)
                self._close_surplus(peer, host)
                yield
        except TimeoutError:
            self._counters["silent_streams"] += 1
            raise
        finally:
            self._unread.pop(number, None)

    @contextmanager
    def answering(self, peer: str, host: str) -> Iterator[bool]:
        """Whether there is a slot for an answer; it is held to the end of the block."""
        granted = self._has_slot(peer, host)
        self._answering[peer, host] += granted
        try:
            yield granted
        finally:
            self._answering[peer, host] -= granted
            self._answering += Counter()  # forgets those that have none left

    def _has_slot(self, peer: str, host: str) -> bool:
        mine = sum(n for (other, _), n in self._answering.items() if other == peer)
        if mine >= self._of_peer or self._answering.total() >= self._slots:
            return False
        if self._is_known(peer):
            return True
        newcomers = {pair: n for pair, n in self._answering.items() if not self._is_known(pair[0])}
        neighbours = sum(n for (_, where), n in newcomers.items() if where == host)
        return sum(newcomers.values()) < max(1, self._slots // 2) and neighbours < max(1, self._slots // 4)

    def _close_surplus(self, peer: str, host: str) -> None:
        """Of the peer or host that just opened one too many, or else of the fullest host, the oldest is closed."""
        newcomers = [n for n, unread in self._unread.items() if not self._is_known(unread.peer)]
        of_peer = [n for n, unread in self._unread.items() if unread.peer == peer]
        of_host = [n for n in newcomers if self._unread[n].host == host]
        if len(of_peer) > MAX_UNREAD_OF_PEER:
            self._close(of_peer[0])
        elif len(of_host) > MAX_UNREAD_OF_HOST and not self._is_known(peer):
            self._close(of_host[0])
        elif len(self._unread) > MAX_UNREAD:
            candidates = newcomers or list(self._unread)
            hosts = Counter(self._unread[n].host for n in candidates)
            fullest = max(hosts, key=lambda where: hosts[where])
            self._close(next(n for n in candidates if self._unread[n].host == fullest))

    def _close(self, number: int) -> None:
        limit = self._unread.pop(number).limit
        if not limit.expired():
            limit.reschedule(asyncio.get_running_loop().time())
