"""The peers of an earlier run: bounded, atomic, and read as data from a stranger."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.network.peer_cache import MAX_CACHED, PeerCache
from swarm.wire.identity import Identity
from swarm.wire.multiaddr import Address


def address(port: int, peer: str | None = None) -> Address:
    return Address("ip4", "45.0.0.1", port, peer or Identity(port.to_bytes(32, "big")).peer_id)


def test_what_is_remembered_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "peers.txt"
    met = [address(1), address(2)]
    PeerCache(path).remember(met)
    assert PeerCache(path).addresses == tuple(met)
    assert [p.name for p in tmp_path.iterdir()] == ["peers.txt"]


def test_what_a_killed_writer_left_is_swept_and_nothing_in_the_way_of_a_fixed_name_stops_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "peers.txt"
    (tmp_path / f".draft-peers.txt-{'0' * 16}").write_text("half")
    (tmp_path / ".peers.txt.partial").write_text("of an earlier version")
    PeerCache(path).remember([address(1)])
    assert [p.name for p in tmp_path.iterdir()] == ["peers.txt"]
    (tmp_path / ".peers.txt.partial").mkdir()
    PeerCache(path).remember([address(2)])
    assert PeerCache(path).addresses == (address(2), address(1))


def test_the_newest_come_first_and_a_peer_that_moved_is_kept_once(tmp_path: Path) -> None:
    cache = PeerCache(tmp_path / "peers.txt")
    cache.remember([address(1), address(2)])
    moved = address(9, address(2).peer)
    cache.remember([moved, address(3)])
    assert cache.addresses == (moved, address(3), address(1))


def test_it_is_bounded_and_keeps_the_newest_of_each_kind(tmp_path: Path) -> None:
    cache = PeerCache(tmp_path / "peers.txt")
    cache.remember([address(port) for port in range(1, 30)])
    cache.remember([], [address(port) for port in range(100, 120)])
    assert len(cache.addresses) == MAX_CACHED
    assert cache.addresses[0] == address(1) and cache.addresses[-1] == address(107)
    assert PeerCache(tmp_path / "peers.txt").addresses == cache.addresses


def test_a_crowd_that_gave_nothing_pushes_out_nobody_who_did(tmp_path: Path) -> None:
    """Eight new names a look once pushed everybody out, and a node came back to none but them."""
    cache = PeerCache(tmp_path / "peers.txt")
    good = [address(port) for port in range(1, 5)]
    cache.remember(good)
    for wave in range(50):
        cache.remember([], [address(1000 + 8 * wave + n) for n in range(8)])
    assert cache.addresses[:4] == tuple(good) and len(cache.addresses) == MAX_CACHED
    assert PeerCache(tmp_path / "peers.txt").addresses[:4] == tuple(good), "and after a restart as well"


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00junk\n", b"/ip4/1.2.3.4/tcp/1\n", b"../../etc/passwd\n" * 9999]
)
def test_a_damaged_file_is_an_empty_cache(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "peers.txt"
    path.write_bytes(content)
    assert PeerCache(path).addresses == ()


def test_a_folder_that_takes_no_file_costs_nothing_but_the_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = PeerCache(tmp_path / "gone" / "peers.txt")
    cache.remember([address(1)])
    assert "cannot write the peer cache" in caplog.text
    assert cache.addresses == (address(1),)
