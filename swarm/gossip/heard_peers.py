"""Heard peers: those that gave something good in this session, and whether any of them is still there.

An announcement outlives its publisher by minutes, so its being there says little. A peer publishes once in a while;
it counts as heard until that rhythm is overdue.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swarm.newest_kept import set_newest
from swarm.wire.announcement import Announcement

KEPT = 1024  # peers
OVERDUE = 3.0  # of a peer's own gap between announcements, after which it counts as gone


@dataclass(slots=True)
class Rhythm:
    """When a peer announced last, and how long after the one before. Unix seconds, seconds."""

    newest: float
    gap: float | None = None  # None: heard of once


class HeardPeers:
    """Since when nobody good is heard. `patience`: seconds without a peer after which a node is alone."""

    def __init__(self, clock: Callable[[], float], patience: float) -> None:
        self._clock, self._patience = clock, patience
        self._peers: OrderedDict[str, Rhythm] = OrderedDict()
        self._heard = clock()
        self._looked = False

    @property
    def silence(self) -> float:
        """Seconds since a peer that gave something good was last heard of, or since this object was made."""
        now = self._clock()
        if now < self._heard:  # the clock was set back
            self._heard = now
        return now - self._heard

    @property
    def alone(self) -> bool:
        """Nobody for `patience`, or nobody at all so far, once a look found none who gives anything."""
        return self.silence >= self._patience or (self._looked and not self._peers)

    def note_good(self, announcement: Announcement) -> None:
        """Its body brought something good."""
        self._heard = self._clock()
        rhythm = self._peers.get(announcement.peer) or Rhythm(announcement.created)
        set_newest(self._peers, announcement.peer, rhythm, KEPT)

    def note_found(self, found: Sequence[Announcement]) -> None:
        """What is announced now: of peers that gave nothing so far, words alone do not count."""
        there = [self._still_there(announcement) for announcement in found]  # each one's rhythm is noted
        if any(there):
            self._heard = self._clock()

    def note_looked(self) -> None:
        """What is announced was fetched, or tried in vain."""
        self._looked = True

    def _still_there(self, announcement: Announcement) -> bool:
        rhythm = self._peers.get(announcement.peer)
        if rhythm is None:
            return False
        if announcement.created > rhythm.newest:
            rhythm.gap, rhythm.newest = announcement.created - rhythm.newest, announcement.created
        if rhythm.gap is None:
            return True
        return self._clock() - rhythm.newest <= max(self._patience, OVERDUE * rhythm.gap)
