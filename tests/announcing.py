"""Announcements as tests need them: valid, with one thing changed at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from policies.tasks.task import TaskSpec
from swarm.wire.announcement import Announcement, Summary, TaskSummary, epoch_of, shard_of
from swarm.wire.identity import Identity
from swarm.wire.manifest import Manifest

NOW = 1_800_000_000.0
MANIFEST = Manifest("flock", (TaskSpec("sort"),), shard_depth=4)
SUMMARY = Summary(3, 7, "smollm2-135m", 2, 16, (TaskSummary("sort@1", 16, 0.25),))


def unsigned(peer: str, **changes: Any) -> Announcement:
    epoch = epoch_of(NOW, MANIFEST.epoch_seconds)
    valid = Announcement(
        swarm=MANIFEST.swarm_id,
        epoch=epoch,
        depth=4,
        shard=shard_of(peer, epoch, 4),
        peer=peer,
        created=NOW,
        expires=NOW + 600.0,
        digest=bytes(32),
        size=1000,
        summary=SUMMARY,
        addresses=("/ip4/203.0.113.7/tcp/4001",),
    )
    return replace(valid, **changes)


def announce(identity: Identity, **changes: Any) -> Announcement:
    return unsigned(identity.peer_id, **changes).sign(identity)
