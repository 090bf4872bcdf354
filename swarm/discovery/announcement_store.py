"""The announcement store holds the newest live announcement of every publisher that this node has heard of."""

from __future__ import annotations

import random
from collections.abc import Sequence

from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementRefused
from swarm.sampling.newcomer_places import IsKnown, nobody_is_known, subnet_of
from swarm.wire.announcement import Announcement

_MAX_PUBLISHERS = 4096  # 4 MiB of announcements at most


class AnnouncementStore:
    """Filled from DHT reads and from announcements that ride on fetches; both pass the same filter.

    A full store loses one of the subnet that most announcements name, the one that expires first; never one of a peer
    that is known while there are others: keys cost nothing, so the soonest expiry alone let a crowd push out everybody.
    """

    def __init__(
        self,
        announcement_filter: AnnouncementFilter,
        own: str,
        generator: random.Random | None = None,
        is_known: IsKnown = nobody_is_known,
    ) -> None:
        """`own` is the PeerID of this node, which never looks itself up; `generator` draws what others hear."""
        self.news_of_known = 0  # announcements of known peers that were newer than what was held
        self._is_known = is_known
        self._crowds: dict[str, set[str]] = {}  # peers by the subnet that their announcements name
        self._filter = announcement_filter
        self._own = own
        self._generator = generator or random.Random()
        self._newest: dict[str, Announcement] = {}
        self._first: Announcement | None = None  # none of those held expires before this one

    def add(self, raws: Sequence[object]) -> list[Announcement]:
        """Keeps what the filter admits, and returns what of it is of others. The refused are counted and dropped."""
        added = []
        for raw in raws:
            if isinstance(raw, bytes):
                try:
                    announcement = self._filter.admit(raw)
                except AnnouncementRefused:
                    continue
                if announcement.peer != self._own:
                    self._keep(announcement)
                    added.append(announcement)
        return added

    def live(self) -> list[Announcement]:
        """Newest first."""
        self._drop_expired()
        return sorted(self._newest.values(), key=lambda a: a.created, reverse=True)

    def draw(self, count: int) -> list[Announcement]:
        """Up to `count` live announcements, uniform over publishers: gossip must not favour the loud."""
        self._drop_expired()
        live = list(self._newest.values())
        return self._generator.sample(live, min(count, len(live)))

    def newest(self, announcement: Announcement) -> Announcement | None:
        """Of the same publisher the newest that is known, or None when that has expired."""
        held = self._newest.get(announcement.peer, announcement)
        best = max(held, announcement, key=_age_rank)
        return best if self._filter.live(best) else None

    def find(self, peer: str) -> Announcement | None:
        return self._newest.get(peer)

    def _keep(self, announcement: Announcement) -> None:
        held = self._newest.get(announcement.peer)
        newer = held is None or not self._filter.live(held) or _age_rank(announcement) > _age_rank(held)
        if not newer or not self._filter.live(announcement):
            return
        if held:
            self._leave_crowd(held)
        self.news_of_known += self._is_known(announcement.peer)
        self._newest[announcement.peer] = announcement
        self._crowds.setdefault(subnet_of(announcement.host), set()).add(announcement.peer)
        if self._first is None or announcement.expires < self._first.expires:
            self._first = announcement
        if len(self._newest) > _MAX_PUBLISHERS:
            self._evict()

    def _evict(self) -> None:
        """One of the largest crowd of peers that are not known, the one that expires first."""
        strangers = (
            [peer for peer in crowd if not self._is_known(peer)]
            for crowd in sorted(self._crowds.values(), key=len, reverse=True)
        )
        crowd = next((peers for peers in strangers if peers), list(self._newest))
        self._drop(self._newest[min(crowd, key=lambda peer: self._newest[peer].expires)])

    def _drop(self, announcement: Announcement) -> None:
        self._leave_crowd(announcement)
        del self._newest[announcement.peer]

    def _leave_crowd(self, announcement: Announcement) -> None:
        subnet = subnet_of(announcement.host)
        self._crowds[subnet].discard(announcement.peer)
        if not self._crowds[subnet]:
            del self._crowds[subnet]

    def _drop_expired(self) -> None:
        """Cheap until something does expire: every answer to a fetch draws from here."""
        if self._first is None or self._filter.live(self._first):
            return
        for announcement in [a for a in self._newest.values() if not self._filter.live(a)]:
            self._drop(announcement)
        self._first = min(self._newest.values(), key=lambda a: a.expires, default=None)


def _age_rank(announcement: Announcement) -> tuple[float, int]:
    """Of one publisher's announcements the newest has the largest; a republished one comes after the original."""
    return announcement.created, announcement.epoch
