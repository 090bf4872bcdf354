"""A swarm with shards on real daemons: a publisher without news stays in every epoch, where readers draw from."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from patience import PATIENCE, until_answered

from policies.tasks.task import TaskSpec
from swarm.errors import TransportError
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.announcement import Announcement, Summary, TaskSummary, shard_of
from swarm.wire.manifest import Manifest

pytestmark = pytest.mark.swarm

MANIFEST = Manifest("sharded", (TaskSpec("sort"),), epoch_seconds=5.0, shard_depth=1)
SUMMARY = Summary(1, 2, "tiny", 1, 8, (TaskSummary("sort@1", 8, 0.5),))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[DhtTransport, DhtTransport]]:
    with ExitStack() as stack:
        alice = stack.enter_context(closing(DhtTransport(DhtSettings(MANIFEST), tmp_path / "alice.key")))
        alice.wait_ready(PATIENCE)
        joining = DhtSettings(MANIFEST, alice.status().addresses)
        bob = stack.enter_context(closing(DhtTransport(joining, tmp_path / "bob.key")))
        bob.wait_ready(PATIENCE)
        yield alice, bob


def seen_by(reader: DhtTransport) -> list[Announcement]:
    try:
        return list(reader.announcements(12))
    except TransportError:
        return []


def test_a_publisher_without_news_is_found_in_a_later_epoch(pair: tuple[DhtTransport, DhtTransport]) -> None:
    alice, bob = pair
    body = os.urandom(10_000)
    first = alice.publish(body, SUMMARY)
    deadline = time.monotonic() + PATIENCE
    while not (later := [a for a in seen_by(bob) if a.epoch > first.epoch]):
        assert time.monotonic() < deadline, f"bob knows {seen_by(bob)}"
        time.sleep(0.1)
    assert (later[0].peer, later[0].digest, later[0].created) == (alice.peer_id, first.digest, first.created)
    assert later[0].shard == shard_of(alice.peer_id, later[0].epoch, 1)
    assert until_answered(bob.fetch, later[0]) == body
    # Bob may have it from one replica before Alice hears from all of them, and counts.
    while not alice.status().counters.get("republished"):
        assert time.monotonic() < deadline, alice.status().counters
        time.sleep(0.1)
