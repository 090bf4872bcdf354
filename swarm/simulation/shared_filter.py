"""The shared filter of all simulated nodes checks each announcement once and remembers it."""

from __future__ import annotations

from collections.abc import Callable

from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.wire.announcement import Announcement
from swarm.wire.manifest import Manifest


class SharedFilter(AnnouncementFilter):
    """Sound because a filter is pure and monotone: what passed once passes until it expires.

    Without it ten thousand nodes would check each announcement hundreds of times, at a third of a millisecond.
    """

    def __init__(self, manifest: Manifest, clock: Callable[[], float]) -> None:
        super().__init__(manifest, clock)
        self._admitted: dict[bytes, Announcement] = {}  # by their bytes, oldest first
        self._raw: dict[bytes, bytes] = {}  # the bytes, by their signature

    def admit(self, raw: bytes) -> Announcement:
        known = self._admitted.get(raw)
        if known is None:
            known = super().admit(raw)
            self._forget_expired()
            self._admitted[raw] = known
            self._raw[known.signature] = raw
        return known

    def encoded(self, announcement: Announcement) -> bytes:
        """The bytes of a live announcement that was admitted."""
        return self._raw[announcement.signature]

    def _forget_expired(self) -> None:
        while self._admitted:
            raw, oldest = next(iter(self._admitted.items()))
            if self.live(oldest):
                return
            del self._admitted[raw], self._raw[oldest.signature]
