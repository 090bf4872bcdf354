"""Body selection: which announced bodies to fetch. Nobody gains by announcing more, or under more names.

Peers whose bodies did not come of late are asked last, so that the silent keep nobody from those that answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from swarm.admission.peer_records import PeerRecords
from swarm.wire.announcement import Announcement

# Of the groups in the pool at which fetching rests, those that one address counts for at most: else it fills the pool,
# and nothing of honest peers is fetched until that is trained on.
ADDRESS_SHARE = 0.5
TRIES_A_BODY = 2  # publishers to try, at most, for each body that is wanted
_FORGOTTEN = 0.25  # failed fetches below which a record has faded: one is forgotten in an hour


def select_bodies(
    found: Sequence[Announcement],
    worth_fetching: Callable[[Announcement], bool],
    records: PeerRecords,
    count: int,
    generator: np.random.Generator,
) -> list[Announcement]:
    """At most `count` of `found` (newest first): of each publisher its newest, if it is worth it.

    Publishers come in the order of `PeerRecords.select`, those that `fails_to_deliver` after all others; a newcomer
    counts by the host that it announces.
    """
    newest: dict[str, Announcement] = {}
    for announcement in found:
        newest.setdefault(announcement.peer, announcement)
    unseen = [announcement for announcement in newest.values() if worth_fetching(announcement)]
    hosts = {announcement.peer: announcement.host for announcement in unseen}
    chosen: list[Announcement] = []
    for failing in (False, True):
        offered = [a for a in unseen if fails_to_deliver(records, a.peer) is failing]
        if not offered:
            continue
        places = records.select([a.peer for a in offered], count - len(chosen), generator, hosts)
        chosen += [offered[place] for place in places]
    return chosen


def fails_to_deliver(records: PeerRecords, peer: str) -> bool:
    """Whether more fetches of this peer's bodies failed of late than groups of it passed."""
    record = records.record(peer)
    return record.undelivered > max(_FORGOTTEN, record.passed)


class WaitingGroups:
    """How many groups of the pool came from each host; who was never fetched from counts at what it announces."""

    def __init__(self, counts: Mapping[str, int], records: PeerRecords, enough: int) -> None:
        """`counts`: of the pool, by peer. `enough`: at which fetching rests."""
        self._records, self._enough = records, enough
        self._by_host: Counter[str] = Counter()
        for peer, count in counts.items():
            self._by_host[records.record(peer).host] += count

    def are_enough(self) -> bool:
        """Whether the pool is full, an address counted for no more than its share."""
        most = ADDRESS_SHARE * self._enough
        return sum(min(count, most) for count in self._by_host.values()) >= self._enough

    def are_enough_of(self, announcement: Announcement) -> bool:
        """Whether its address alone has filled the pool."""
        host = self._records.record(announcement.peer).host or announcement.host
        return self._by_host[host] >= self._enough
