"""What `murmur peers INVITE` makes of a look at a swarm."""

from __future__ import annotations

import json

import pytest

from node.ui import peers
from node.ui.peers import announcements, format_uptime
from policies.tasks.task import TaskSpec
from swarm.exchange.peer_stats import NodeStats
from swarm.observer.client import Look
from swarm.wire.announcement import Announcement, Summary, TaskSummary
from swarm.wire.identity import Identity
from swarm.wire.manifest import Manifest

NOW = 1_800_000_000.0
ALICE, BOB = (Identity(bytes([n]) * 32).peer_id for n in (1, 2))
STATS = NodeStats(
    "0.1.0",
    7260.0,
    3,
    7,
    "tiny",
    4,
    (("fetched", 9), ("refused_future", 1), ("refused_swarm", 2), ("served", 5)),
)


def announcement(peer: str, seconds_ago: float) -> Announcement:
    summary = Summary(3, 7, "tiny", 2, 16, (TaskSummary("sort@1", 16, 0.25),))
    manifest = Manifest("flock", (TaskSpec("sort"),))
    created = NOW - seconds_ago
    return Announcement(
        manifest.swarm_id, 0, 0, 0, peer, created, created + 600.0, bytes(32), 1000, summary, ()
    )


LOOK = Look(
    announcements=(announcement(ALICE, 5.0), announcement(BOB, 2.0)),
    stats={ALICE: STATS},
    silent={BOB: "cannot be reached"},
    nodes=3,
    refused={},
    resident=100_000_000,
)


def test_an_offer_comes_with_what_its_publisher_says_of_itself() -> None:
    newest, oldest = announcements(LOOK, NOW)
    assert (newest.peer, newest.stats, newest.no_answer) == (BOB, None, "cannot be reached")
    assert (oldest.peer, oldest.seconds_ago, oldest.claimed_rewards) == (ALICE, 5.0, {"sort@1": 0.25})
    assert oldest.stats and oldest.stats.counters["served"] == 5
    assert oldest.stats.refused == 3 and oldest.no_answer == ""


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.time, "time", lambda: NOW)


def test_the_table_names_peers_figures_and_silences(capsys: pytest.CaptureFixture[str]) -> None:
    peers._show_announcements(LOOK, as_json=False)
    shown = capsys.readouterr().out
    alice = next(line for line in shown.splitlines() if ALICE[-8:] in line)
    bob = next(line for line in shown.splitlines() if BOB[-8:] in line)
    announced, told = "5 s 3 tiny 2 16 sort@1 0.25", "0.1.0 2.0 h 9 5 3"
    assert " ".join(alice.split()) == f"…{ALICE[-8:]} {announced} {told}"
    assert bob.split()[-3:] == ["cannot", "be", "reached"]
    assert "3 nodes of the DHT answered, 1 peers told their figures" in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_json_has_whole_names_and_all_counters(capsys: pytest.CaptureFixture[str]) -> None:
    peers._show_announcements(LOOK, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["peer"] for row in rows] == [BOB, ALICE]
    assert rows[1]["stats"]["counters"] == dict(STATS.counters)
    assert rows[0]["stats"] is None and rows[0]["no_answer"] == "cannot be reached"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (59.4, "59 s"), (90.0, "1.5 min"), (7200.0, "2.0 h"), (864000.0, "10.0 d")],
)
def test_uptimes_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert format_uptime(seconds) == text
