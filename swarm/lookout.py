"""Where to look for announcements: which shards of which epochs, and when enough publishers are known."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

from swarm.manifest import Manifest
from swarm.record import Announcement, shard_key

_SHARDS_AT_ONCE = 4
_SHARDS_OF_EPOCH = 8  # read by one look round
_MAX_SHARDS_READ = 16  # by one look round
_MAX_EPOCHS_AT_JOIN = 16


def needs_look(live: Sequence[Announcement], current: int, want: int) -> bool:
    """Whether fewer than `want` publishers of this epoch and the last are known: gossip alone is not enough."""
    return sum(a.epoch >= current - 1 for a in live) < want


def places(
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
