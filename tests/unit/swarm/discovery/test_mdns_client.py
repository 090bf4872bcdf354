"""What is told to the local network, and what is believed of it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from announcing import MANIFEST

from swarm.discovery import mdns_client
from swarm.discovery.mdns_client import MdnsClient, orders, parse
from swarm.errors import DecodeError, TransportDown
from swarm.wire.identity import Identity
from swarm.wire.multiaddr import Address

ALICE, BOB = (Identity(bytes([n]) * 32).peer_id for n in range(2))
HOME = Address.parse(f"/ip4/192.168.1.7/tcp/4001/p2p/{ALICE}")


def line(peer: object, *texts: object) -> bytes:
    return json.dumps([peer, texts]).encode()


def test_a_neighbour_is_who_and_where() -> None:
    found = parse(line(BOB, "/ip4/192.168.1.8/tcp/4001", "/ip6/fe80::1/tcp/4002"))
    assert [str(a) for a in found] == [
        f"/ip4/192.168.1.8/tcp/4001/p2p/{BOB}",
        f"/ip6/fe80::1/tcp/4002/p2p/{BOB}",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/8.8.8.8/tcp/53",
        "/ip4/127.0.0.1/tcp/22",
        "/ip6/::1/tcp/22",
        "/dns4/intranet/tcp/80",
        "/ip4/192.168.1.8/tcp/0",
        "/ip4/192.168.1.8/udp/4001/quic-v1",
        f"/ip4/192.168.1.8/tcp/4001/p2p/{ALICE}/p2p-circuit",
        "/ip4/192.168.1.8/tcp/4001/" + "x" * 1000,
        "",
    ],
)
def test_an_address_elsewhere_or_of_another_form_is_left_out(text: str) -> None:
    assert parse(line(BOB, text)) == ()


def test_a_neighbour_has_few_addresses_and_a_real_name() -> None:
    assert len(parse(line(BOB, *[f"/ip4/192.168.1.8/tcp/{n}" for n in range(1, 100)]))) == 3
    for name in ("QmRsaPeer", "", None, 7, ["x"], f"{BOB}/p2p/{ALICE}"):
        assert parse(line(name, "/ip4/192.168.1.8/tcp/4001")) == ()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"[1,2,3]",
        b"[" * 4000,
        b"\xff",
        b'["x", 7]',
        b'["x", [7]]',
        b'["x", {"a": 1}]',
    ],
)
def test_noise_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        parse(raw)


def test_only_local_addresses_are_told() -> None:
    elsewhere = [Address.parse(f"/ip4/{host}/tcp/4001/p2p/{ALICE}") for host in ("8.8.8.8", "127.0.0.1")]
    told = json.loads(orders(MANIFEST.swarm_id, [HOME, *elsewhere]))
    assert told == [MANIFEST.swarm_id, [str(HOME)]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], MdnsClient]]:
    """Starts neighbours whose process runs the given script."""
    spawn = subprocess.Popen
    with ExitStack() as stack:

        def started(script: str) -> MdnsClient:
            monkeypatch.setattr(
                mdns_client.subprocess, "Popen", lambda _, **k: spawn([sys.executable, "-c", script], **k)
            )
            return stack.enter_context(closing(MdnsClient(MANIFEST.swarm_id, [HOME])))

        yield started


def settled(script: str, start: Callable[[str], MdnsClient]) -> MdnsClient:
    """After the process has said all."""
    found = start(script)
    found._process.wait(30.0)
    found._listener.join(30.0)
    return found


def test_the_newest_word_of_each_neighbour_counts(start: Callable[[str], MdnsClient]) -> None:
    said = [
        line(BOB, "/ip4/192.168.1.8/tcp/4001"),
        b"noise",
        line(ALICE, "/ip4/192.168.1.7/tcp/4001"),
        line(BOB, "/ip4/192.168.1.9/tcp/4001"),
    ]
    found = settled(f"import os; os.write(1, {b''.join(s + bytes([10]) for s in said)!r})", start)
    assert [str(a) for a in found.found] == [f"/ip4/192.168.1.9/tcp/4001/p2p/{BOB}"]


def test_a_crowd_is_bounded(start: Callable[[str], MdnsClient]) -> None:
    peers = [Identity.ephemeral().peer_id for _ in range(100)]
    said = b"".join(line(peer, "/ip4/192.168.1.8/tcp/4001") + b"\n" for peer in peers)
    assert len(settled(f"import os; os.write(1, {said!r})", start).found) == 64


def test_without_mdns_there_are_no_neighbours(start: Callable[[str], MdnsClient]) -> None:
    found = settled("raise SystemExit(1)", start)
    assert found.found == () and not found.running


@pytest.mark.parametrize("end", ["sys.exit('the cause')", "raise OSError('the cause')"])
def test_a_process_that_ends_is_told_once_with_its_cause(
    end: str, start: Callable[[str], MdnsClient], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        settled(f"import sys; {end}", start)
    (told,) = caplog.messages
    assert told.startswith("LAN discovery is off, the rest goes on: ") and told.endswith("the cause")


def test_a_process_that_is_closed_in_order_is_no_fault(
    start: Callable[[str], MdnsClient], caplog: pytest.LogCaptureFixture
) -> None:
    found = start("import sys; sys.stdin.read()")
    found.close()
    found._listener.join(30.0)
    assert not found._listener.is_alive() and caplog.messages == []


def test_a_process_that_writes_much_on_stderr_is_not_held_up(start: Callable[[str], MdnsClient]) -> None:
    found = settled("import sys; sys.stderr.write('noise\\n' * 100_000); sys.exit('the last words')", start)
    assert found._last_words.awaited(30.0) == "the last words"


def test_a_process_that_cannot_be_started_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mdns_client.subprocess, "Popen", refuse)
    with pytest.raises(TransportDown, match="Cannot allocate memory"):
        MdnsClient(MANIFEST.swarm_id, [HOME])
