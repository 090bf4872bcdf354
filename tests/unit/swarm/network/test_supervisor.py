"""The peer supervisor's state: what it warns of, and when it compares clocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from announcing import MANIFEST, NOW, announce

from swarm.discovery.announcement_filter import AnnouncementRefused
from swarm.discovery.clock_watch import ClockWatch
from swarm.network.ipc import DhtSettings
from swarm.network.publisher import _later
from swarm.network.supervisor import PeerSupervisor
from swarm.wire.identity import Identity
from swarm.wire.multiaddr import Address

ALICE, BOB, CLEO = (Identity(letter * 32) for letter in (b"a", b"b", b"c"))


def supervisor(folder: Path, *peers: Identity) -> PeerSupervisor:
    ALICE.save(folder / "key")
    bootstrap = tuple(f"/ip4/127.0.0.1/tcp/{4001 + n}/p2p/{peer.peer_id}" for n, peer in enumerate(peers))
    return PeerSupervisor(DhtSettings(MANIFEST, bootstrap), folder / "key")


class Daemon:
    """Up, and alone with the peers that it is told of."""

    alone = False

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def addresses(self) -> tuple[Address, ...]:
        return ()

    async def connect(self, addresses: Sequence[Address]) -> None:
        self.asked += [a.peer for a in addresses]


def test_a_node_that_would_join_itself_says_so(tmp_path: Path) -> None:
    assert "joins nobody" in supervisor(tmp_path, ALICE).state()["warnings"]["same key"]
    assert supervisor(tmp_path, ALICE, BOB).state()["warnings"] == {}
    assert supervisor(tmp_path).state()["warnings"] == {}


def test_what_known_peers_say_that_they_left_out_is_warned_of(tmp_path: Path) -> None:
    node = supervisor(tmp_path)
    node._exchange.told.note(BOB.peer_id, {"encoding": 8})
    assert node.state()["counters"]["told_refused_encoding"] == 8
    assert node.state()["warnings"] == {}  # of a peer that gave nothing
    node._known.update([BOB.peer_id])
    node._exchange.told.note(BOB.peer_id, {"encoding": 8})
    assert "peers left out 8 rollouts of this node of late" in node.state()["warnings"]["refused by peers"]


def test_clocks_are_compared_now_and_then_while_a_node_is_up(tmp_path: Path) -> None:
    node, daemon = supervisor(tmp_path, BOB), Daemon()
    node._daemon = daemon  # type: ignore[assignment]
    asyncio.run(node._maintain())
    asyncio.run(node._maintain())
    assert daemon.asked == [BOB.peer_id]
    node._clocks_compared -= 120.0
    asyncio.run(node._maintain())
    assert daemon.asked == [BOB.peer_id] * 2


def test_a_join_that_the_clock_spoilt_is_warned_of_until_it_succeeds(tmp_path: Path) -> None:
    node = supervisor(tmp_path, BOB)
    error: Any = RuntimeError("local time must be within 3 seconds  of others(local: 1000.0, peer: 1012.0)")
    assert node._readable(error).startswith("this machine's clock is 12.0 s behind")
    assert node.state()["warnings"]["clock"] == node._readable(error)
    assert "did not start" in node._readable(RuntimeError("something else"))
    assert node.state()["warnings"] == {}


def test_a_clock_that_is_set_has_a_node_compare_it_at_once(tmp_path: Path) -> None:
    node, daemon, machine = supervisor(tmp_path, BOB), Daemon(), [NOW]
    node._daemon = daemon  # type: ignore[assignment]
    node._clocks = ClockWatch(lambda: machine[0], lambda: 1.0)
    asyncio.run(node._maintain())
    machine[0] += 3600.0
    asyncio.run(node._maintain())
    asyncio.run(node._maintain())
    assert daemon.asked == [BOB.peer_id] * 2
    assert "set forward by 3600 s" in node.state()["warnings"]["clock"]


def test_announcements_that_are_all_out_of_time_are_warned_of_and_own_ones_say_nothing(
    tmp_path: Path,
) -> None:
    node = supervisor(tmp_path, BOB)
    node._filter._clock = lambda: NOW + 3600.0
    for identity, words in ((ALICE, ""), (BOB, "all that peers announced of late was refused")):
        for _ in range(8):
            node._filter.admit(announce(identity).encode())
        assert node.state()["warnings"].get("clock", "").startswith(words)


def test_a_peer_whose_announcements_come_expired_is_asked_for_its_time(tmp_path: Path) -> None:
    node, daemon = supervisor(tmp_path, BOB), Daemon()
    node._daemon, node._clocks_compared = daemon, time.monotonic()  # type: ignore[assignment]
    node._filter._clock = lambda: NOW + 3600.0
    node._filter.admit(announce(CLEO).encode())
    asyncio.run(node._maintain())
    assert daemon.asked == []  # as just before
    node._clocks_compared -= 15.0
    asyncio.run(node._maintain())
    asyncio.run(node._maintain())
    assert daemon.asked == [BOB.peer_id, CLEO.peer_id]


def test_a_peer_whose_clock_is_ahead_is_no_other_program(tmp_path: Path) -> None:
    node = supervisor(tmp_path, BOB)
    node._filter._clock = lambda: NOW - 3600.0  # or this one is behind
    protocol, caller = cast(Any, (None, BOB.peer_id))  # nobody is parted from
    for _ in range(20):
        with node._foreign.counting(protocol, caller, 500), suppress(AnnouncementRefused):
            node._filter.admit(announce(BOB).encode())
    assert node._foreign.by_caller == {} and not node._foreign.is_blocked(BOB.peer_id)
    assert node.state()["counters"]["refused_future"] == 20
    assert "this machine's clock is 3600" in node.state()["warnings"]["clock"]


def test_own_announcements_of_before_a_clock_was_set_back_tell_of_no_other_clock(tmp_path: Path) -> None:
    node = supervisor(tmp_path, BOB)
    node._filter._clock = lambda: NOW - 3600.0
    with pytest.raises(AnnouncementRefused, match="future"):
        node._filter.admit(announce(ALICE).encode())
    assert node.state()["clock_offset"] is None and node.state()["warnings"] == {}


def test_announcements_stay_in_order_and_follow_a_clock_that_is_set_back() -> None:
    assert _later(NOW, NOW + 5.0) == NOW + 5.0
    assert _later(NOW, NOW - 5.0) == NOW + 0.001
    assert _later(NOW, NOW - 3600.0) == NOW - 3600.0
