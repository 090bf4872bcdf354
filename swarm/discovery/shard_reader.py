"""The shard reader chooses which shards of which epochs to read, until enough publishers are known.

Without shards (depth 0) a node gets to know everybody. In a sharded swarm it knows a few, so whom it knows decides
whom it fetches from: it draws its candidates from shards of the last whole epoch, in which every live publisher lies
once (`republish`). Announcements that ride on fetches favour those who are fetched already; they only fill up.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from swarm.discovery.announcement_store import AnnouncementStore
from swarm.discovery.shard_sample import ShardSample
from swarm.wire.announcement import Announcement, shard_key
from swarm.wire.manifest import Manifest

SPARE = 3  # announcements to look for, for each body to fetch
SHARD_MEMBERS = 24  # announcements that a shard is to hold: a manifest's depth is chosen so
_DRAWN = 1.5  # publishers to draw from a shard of that size, for each body to fetch
_KEPT_SPENT = 8192  # announcements that were fetched, could not be, or are of no use here
_KEPT_EPOCHS = 3  # after which a publisher that was drawn and not fetched is forgotten
_MAX_EPOCH_SHARDS = 32  # of one epoch, drawn from
# Read of an epoch with fewer members than shards: the swarm is too young, or too small, to draw.
_EMPTY_SHARDS = 4

_SHARDS_AT_ONCE = 4
_SHARDS_OF_EPOCH = 8  # read by one look round
_MAX_SHARDS_READ = 16  # by one look round
_MAX_EPOCHS_AT_JOIN = 16


class ShardReader:
    """Of one node. `keys_to_read` says what to read, `add` takes in what was there, `candidates` what came of it."""

    def __init__(
        self, manifest: Manifest, announcements: AnnouncementStore, lifetime: float, generator: random.Random
    ) -> None:
        """`lifetime` in seconds, of announcements."""
        self._manifest, self._announcements, self._lifetime = manifest, announcements, lifetime
        self._generator = generator
        self._sample = ShardSample(generator)
        self._added: list[Announcement] = []  # of the latest read
        self._epoch = 0  # the last whole one, and its shards that were read
        self._read: set[int] = set()
        self._members = 0  # found in them
        self._joined = False
        self._spent: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def keys_to_read(self, current: int, want: int) -> Iterator[list[str]]:
        """Shard keys to read, a few at a time, in epoch `current`. Learn what they hold before asking for more.

        Ends when there are enough publishers for `want` announcements, SPARE for each body to fetch.
        """
        if self._manifest.shard_depth:
            yield from self._draw(current, _bodies(want))
            if len(self._sample) >= _bodies(want):
                return
        if self._too_few(current, want):
            yield from self._list(current, want)

    def add(self, raws: Sequence[object]) -> None:
        """What lies under the keys that `keys_to_read` gave last."""
        self._added = self._announcements.add(raws)

    def candidates(self, want: int) -> list[Announcement]:
        """Live announcements, one a publisher, newest first: of those drawn, or of all known while they are few."""
        waiting = [newest for a in self._sample.waiting() if (newest := self._announcements.newest(a))]
        if len(waiting) < _bodies(want) or not self._manifest.shard_depth:
            return self._announcements.live()
        return sorted(waiting, key=lambda a: a.created, reverse=True)

    def mark_fetched(self, announcement: Announcement) -> None:
        """Its body was fetched, or could not be, or is of no use here."""
        self._sample.mark_fetched(announcement)
        self._spent[announcement.peer, announcement.digest] = None
        if len(self._spent) > _KEPT_SPENT:
            self._spent.popitem(last=False)

    def rejoin(self) -> None:
        """The node lost the swarm and comes back: the next look goes back as far as announcements live."""
        self._joined = False

    def _draw(self, current: int, bodies: int) -> Iterator[list[str]]:
        """Whole shards of the last epoch, each once, until a publisher waits for each of `bodies`."""
        if self._epoch != current - 1:
            self._epoch, self._read, self._members = current - 1, set(), 0
            self._sample.drop_before(current - _KEPT_EPOCHS)
        while len(self._sample) < bodies and (shards := self._unread(bodies)):
            yield [self._key(self._epoch, shard) for shard in shards]
            self._read.update(shards)
            places = {(self._epoch, shard) for shard in shards}
            members = [a for a in self._added if (a.epoch, a.shard) in places]
            self._members += len(members)
            self._sample.add(members, share=min(1.0, _DRAWN * bodies / SHARD_MEMBERS))

    def _unread(self, bodies: int) -> list[int]:
        """Some shards at random, as many as should do."""
        if self._members < len(self._read) >= _EMPTY_SHARDS:
            return []
        shards = range(2**self._manifest.shard_depth)
        left = min(len(shards), _MAX_EPOCH_SHARDS) - len(self._read)
        wanted = min(left, _SHARDS_AT_ONCE, math.ceil(bodies / SHARD_MEMBERS))
        chosen: set[int] = set()
        while len(chosen) < wanted:
            if (shard := self._generator.choice(shards)) not in self._read:
                chosen.add(shard)
        return sorted(chosen)

    def _list(self, current: int, want: int) -> Iterator[list[str]]:
        joining, self._joined = not self._joined, True
        for keys in keys_in_order(
            self._manifest, current, self._lifetime, joining=joining, generator=self._generator
        ):
            yield keys
            if len(self._unspent()) >= want:
                return

    def _too_few(self, current: int, want: int) -> bool:
        """Whether there are fewer than `want` publishers, of this epoch and the last, that are still worth a fetch.

        What was fetched, or could not be, does not count: a few dead announcements must not end the search for others.
        """
        return sum(a.epoch >= current - 1 for a in self._unspent()) < want

    def _unspent(self) -> list[Announcement]:
        return [a for a in self._announcements.live() if (a.peer, a.digest) not in self._spent]

    def _key(self, epoch: int, shard: int) -> str:
        return shard_key(self._manifest.swarm_id, epoch, self._manifest.shard_depth, shard)


def keys_in_order(
    manifest: Manifest, current: int, lifetime: float, *, joining: bool, generator: random.Random
) -> Iterator[list[str]]:
    """Shard keys in the order to read them, a few at a time: newest epochs first, shards at random.

    A node that is `joining` looks back over a whole `lifetime` of announcements (seconds); later, gossip brings
    what is older than the last epoch. How much one look reads does not grow with the swarm.
    """
    swarm, depth = manifest.swarm_id, manifest.shard_depth
    lived = math.ceil(lifetime / manifest.epoch_seconds) + 1
    back = min(max(2, lived), _MAX_EPOCHS_AT_JOIN) if joining else 2
    keys = [
        shard_key(swarm, epoch, depth, shard)
        for epoch in range(current, current - back, -1)
        for shard in generator.sample(range(2**depth), min(2**depth, _SHARDS_OF_EPOCH))
    ][: max(_MAX_SHARDS_READ, back)]
    for start in range(0, len(keys), _SHARDS_AT_ONCE):
        yield keys[start : start + _SHARDS_AT_ONCE]


def _bodies(want: int) -> int:
    return max(1, want // SPARE)
