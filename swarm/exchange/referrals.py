"""Referrals: who fetched a body of late, and so has it too, for those that its publisher has no time for."""

from __future__ import annotations

from collections import OrderedDict, deque

MAX_REFERRALS = 4  # peers of one body: those that fetched it last
_MAX_BODIES = 256  # the one that was fetched first is forgotten first


class Referrals:
    """Of one node's bodies, and of those that it serves for others."""

    def __init__(self) -> None:
        self._fetchers: OrderedDict[bytes, deque[str]] = OrderedDict()  # by digest

    def note(self, peer: str, digest: bytes) -> None:
        """`peer` has fetched the body with that digest."""
        fetchers = self._fetchers.setdefault(digest, deque(maxlen=MAX_REFERRALS))
        if peer not in fetchers:
            fetchers.append(peer)
        if len(self._fetchers) > _MAX_BODIES:
            self._fetchers.popitem(last=False)

    def of(self, digest: bytes) -> tuple[str, ...]:
        """PeerIDs, the longest there first."""
        return tuple(self._fetchers.get(digest, ()))
