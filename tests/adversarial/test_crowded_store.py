"""Announcements of a crowd of keys: the reader's memory loses the crowd's, not those of others."""

from __future__ import annotations

import pytest
from announcing import MANIFEST, NOW, announce

from swarm.discovery import announcement_store
from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.wire.identity import Identity

HONEST = [Identity(bytes([1, number]) * 16) for number in range(6)]
SYBILS = [Identity(bytes([2, number]) * 16) for number in range(200)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcement_store, "_MAX_PUBLISHERS", 32)


def flooded(known: set[str], crowd: str) -> set[str]:
    """Peers that are left of six honest ones, whose announcements expire first, and 200 Sybils."""
    now = [NOW]
    store = AnnouncementStore(
        AnnouncementFilter(MANIFEST, lambda: now[0]), "own", is_known=lambda peer: peer in known
    )
    for number, peer in enumerate(HONEST):
        place = f"/ip4/198.51.{number}.1/tcp/4001"
        store.add([announce(peer, expires=NOW + 60.0, addresses=(place,)).encode()])
    for number, peer in enumerate(SYBILS):
        store.add([announce(peer, addresses=(crowd.format(number),)).encode()])
    assert len(store.live()) == len(store.draw(1000)) == 32
    assert sum(map(len, store._crowds.values())) == 32
    left = {a.peer for a in store.live()}
    now[0] = NOW + 601.0
    assert (store.live(), store._crowds) == ([], {})
    return left


@pytest.mark.parametrize("crowd", ["/ip4/203.0.113.7/tcp/4001", "/ip4/203.0.113.{}/tcp/4001"])
def test_a_crowd_of_one_subnet_displaces_itself(crowd: str) -> None:
    assert {peer.peer_id for peer in HONEST} <= flooded(set(), crowd)


def test_peers_that_gave_something_good_stay_whatever_addresses_the_crowd_names() -> None:
    known = {peer.peer_id for peer in HONEST}
    assert known <= flooded(known, "/ip4/203.{}.113.7/tcp/4001")
