"""Body selection: which announced bodies to fetch. Nobody gains by announcing more, or under more names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from swarm.admission.peer_records import PeerRecords
from swarm.wire.announcement import Announcement


def select_bodies(
    found: Sequence[Announcement],
    worth_fetching: Callable[[Announcement], bool],
    records: PeerRecords,
    count: int,
    generator: np.random.Generator,
) -> list[Announcement]:
    """At most `count` of `found` (newest first): of each publisher its newest, if it is worth it.

    Publishers come in the order of `PeerRecords.select`; a newcomer counts by the host that it announces.
    """
    newest: dict[str, Announcement] = {}
    for announcement in found:
        newest.setdefault(announcement.peer, announcement)
    unseen = [announcement for announcement in newest.values() if worth_fetching(announcement)]
    hosts = {announcement.peer: announcement.host for announcement in unseen}
    chosen = records.select([announcement.peer for announcement in unseen], count, generator, hosts)
    return [unseen[index] for index in chosen]
