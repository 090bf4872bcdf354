"""Body selection: which announced bodies to fetch, uniform over publishers, so that nobody gains by announcing more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from swarm.wire.announcement import Announcement


def select_bodies(
    found: Sequence[Announcement],
    worth_fetching: Callable[[Announcement], bool],
    count: int,
    generator: np.random.Generator,
) -> list[Announcement]:
    """At most `count` of `found` (newest first), in random order: of each publisher its newest, if it is worth it."""
    newest: dict[str, Announcement] = {}
    for announcement in found:
        newest.setdefault(announcement.peer, announcement)
    unseen = [announcement for announcement in newest.values() if worth_fetching(announcement)]
    return [unseen[index] for index in generator.permutation(len(unseen))[:count]]
