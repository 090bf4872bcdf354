"""The shard sample: publishers drawn from whole shards, whose bodies were not fetched yet."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterable

from swarm.wire.announcement import Announcement

_REMEMBERED = 4096  # digests of bodies that were fetched, or tried


class ShardSample:
    """Each member of a shard is drawn with one fixed chance, whatever the others are.

    To draw a fixed number of a shard instead would favour publishers whose shard happens to be small: with J = 4
    and 20 members a shard, fetches of a publisher would vary 1.2 times as much as uniform ones do.
    """

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator
        self._waiting: dict[str, Announcement] = {}  # by peer
        self._fetched: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, shard: Iterable[Announcement], share: float) -> None:
        """Draws from a shard that was read whole; of several announcements of one peer the newest counts."""
        newest: dict[str, Announcement] = {}
        for announcement in sorted(shard, key=lambda a: (a.created, a.peer)):
            newest[announcement.peer] = announcement
        for peer, announcement in newest.items():
            if self._generator.random() < share and announcement.digest not in self._fetched:
                self._waiting[peer] = announcement

    def mark_fetched(self, announcement: Announcement) -> None:
        """Its publisher had its turn, whatever came of it."""
        self._waiting.pop(announcement.peer, None)
        self._fetched[announcement.digest] = None
        if len(self._fetched) > _REMEMBERED:
            self._fetched.popitem(last=False)

    def drop_before(self, epoch: int) -> None:
        """Forgets what was drawn from earlier epochs."""
        self._waiting = {peer: a for peer, a in self._waiting.items() if a.epoch >= epoch}

    def waiting(self) -> list[Announcement]:
        return list(self._waiting.values())
