"""Body selection: which announced bodies to fetch. Nobody gains by announcing more, or under more names.

Peers whose bodies did not come of late are asked last, so that the silent keep nobody from those that answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from swarm.admission.peer_records import PeerRecords
from swarm.wire.announcement import Announcement

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
