"""Republishing puts every live publisher into every epoch: readers sample the shards of one epoch.

A node that publishes nothing new in an epoch announces its newest body once more towards the end of it, with
the same creation and expiry, in that epoch's shard. At depth 0 nobody draws from shards, and nothing is republished.
"""

from __future__ import annotations

import random
from dataclasses import replace

from swarm.wire.announcement import Announcement, epoch_of, shard_of

# Share of an epoch after which to republish: late enough for most nodes to have published something new by then,
# early enough to be stored before readers turn to the epoch; apart, so that servers are not asked all at once.
_EARLIEST, _LATEST = 0.75, 0.9
_INSTANT = 0.05  # seconds by which clocks and timers may be off


def draw_phase(generator: random.Random) -> float:
    """The share of an epoch that a node waits for news before it republishes."""
    return generator.uniform(_EARLIEST, _LATEST)


def next_moment(now: float, epoch_seconds: float, phase: float) -> float:
    """The Unix time after `now` at which to see whether a republication is due."""
    # Half an instant late, so that a timer that goes off early still finds it due; never its own successor.
    epoch = epoch_of(now + _INSTANT - phase * epoch_seconds, epoch_seconds) + 1
    return (epoch + phase) * epoch_seconds + _INSTANT / 2


def is_due(newest: Announcement, now: float, epoch_seconds: float, phase: float) -> bool:
    """Whether the own `newest` announcement has to be republished at Unix time `now`."""
    current = epoch_of(now, epoch_seconds)
    return (
        bool(newest.depth)
        and newest.epoch < current
        and (current + phase) * epoch_seconds <= now < newest.expires
    )


def republished(newest: Announcement, now: float, epoch_seconds: float) -> Announcement:
    """`newest` in the epoch of `now`; still to be signed."""
    epoch = epoch_of(now, epoch_seconds)
    return replace(newest, epoch=epoch, shard=shard_of(newest.peer, epoch, newest.depth))
