"""What peers' groups brought, reckoned from events by hand."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sample_events import ROUND

from node.storage.events import ExternalEvent, History, PeerEvent, Store
from node.storage.influence import influences
from node.ui.inspect.trend import trend_of


def test_the_most_helpful_peer_comes_first_with_its_share_and_the_rewards_around(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "events")) as store:
        for number, reward in enumerate((0.1, 0.2, 0.4, 0.8), 1):
            store.append(replace(ROUND, round=number, reward=reward, trained_local=3, trained_external=2))
        store.append(
            PeerEvent(1, "alice", 4, 0, {}, usefulness=0.1), PeerEvent(3, "alice", 1, 0, {}, usefulness=0.5)
        )
        store.append(PeerEvent(2, "bob", 9, 0, {}, usefulness=-0.2), PeerEvent(2, "carol", 1, 1, {}))
        store.append(*(ExternalEvent(n, "alice", "sort@1", n) for n in (1, 1, 3)))
        store.append(*(ExternalEvent(n, "bob", "sort@1", n) for n in (2, 2, 3, 4, 4)))
    alice, carol, bob = influences(History(tmp_path / "events"))
    assert (alice.peer, alice.received, alice.trained_on, alice.updates, alice.usefulness) == (
        "alice",
        5,
        3,
        2,
        0.5,
    )
    assert alice.share == 3 / 20
    assert alice.reward_before == pytest.approx(0.25) and alice.reward_after == pytest.approx(0.5)
    assert alice.words == "3 of its groups were in 2 updates (15% of all groups), useful +0.50"
    assert (carol.peer, carol.trained_on, carol.reward_after) == ("carol", 0, None)
    assert bob.peer == "bob" and bob.reward_before == pytest.approx(0.3)  # round 4 has no next one
    early = influences(History(tmp_path / "events"), until=1)
    assert [(part.peer, part.trained_on, part.usefulness) for part in early] == [("alice", 2, 0.1)]


def test_groups_alone_decide_where_nothing_was_measured(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "events")) as store:
        store.append(ROUND, PeerEvent(1, "few", 9, 0, {}), PeerEvent(1, "many", 2, 0, {}))
        store.append(*(ExternalEvent(1, "many", "sort@1", n) for n in range(2)))
    assert [part.peer for part in influences(History(tmp_path / "events"))] == ["many", "few"]
    assert influences(History(tmp_path / "absent")) == []


@pytest.mark.parametrize(
    ("rewards", "state"),
    [
        ([0.1, 0.2] * 10 + [0.6, 0.7] * 10, "rising"),
        ([0.6, 0.7] * 10 + [0.1, 0.2] * 10, "falling"),
        ([0.1, 0.9, 0.4] * 20, "level"),
        ([0.1, 0.9], "unknown"),
    ],
)
def test_a_trend_is_told_only_beyond_its_doubt(rewards: list[float], state: str) -> None:
    trend = trend_of([replace(ROUND, round=n, reward=r) for n, r in enumerate(rewards, 1)], [])
    assert trend.state == state and trend.words
