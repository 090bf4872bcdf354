"""Which addresses a node tells others, and settings that cannot work."""

from __future__ import annotations

import pytest
from announcing import MANIFEST

from swarm.errors import InviteError
from swarm.network.ipc import DhtSettings
from swarm.wire.identity import Identity
from swarm.wire.multiaddr import Address, parse_known, widest

LOOPBACK, PRIVATE, GLOBAL = "/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.5/tcp/2", "/ip4/198.41.0.4/tcp/3"
NAME, SIX = "/dns4/node.example.org/tcp/4", "/ip6/2001:503:ba3e::2:30/tcp/5"


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ([LOOPBACK], [LOOPBACK]),
        ([LOOPBACK, PRIVATE], [PRIVATE]),
        ([LOOPBACK, PRIVATE, GLOBAL], [GLOBAL]),
        ([NAME, PRIVATE, SIX, GLOBAL, GLOBAL], [NAME, SIX, GLOBAL]),
        ([], []),
    ],
)
def test_only_addresses_of_the_widest_reach_are_told(own: list[str], told: list[str]) -> None:
    assert [str(a) for a in widest([Address.parse(a) for a in own])] == told


def test_addresses_of_other_transports_are_left_out() -> None:
    relay = f"{GLOBAL}/p2p/{Identity(bytes(32)).peer_id}/p2p-circuit"
    known = parse_known([GLOBAL, "/ip4/198.41.0.4/udp/3/quic-v1", relay, "x" * 1000])
    assert [str(a) for a in known] == [GLOBAL]


def test_a_peer_comes_off_and_goes_back_on() -> None:
    text = f"{GLOBAL}/p2p/{Identity(bytes(32)).peer_id}"
    assert str(Address.parse(text)) == text
    assert str(Address.parse(text).without_peer()) == GLOBAL


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bootstrap": (GLOBAL,)}, "must end in /p2p/"),
        ({"listen": ("/ip4/0.0.0.0/udp/1/quic-v1",)}, "not of the form"),
        ({"announce": ("/ip4/198.41.0.4/tcp/0",)}, "needs the port"),
    ],
)
def test_settings_with_addresses_that_cannot_work_are_refused(
    change: dict[str, tuple[str]], why: str
) -> None:
    with pytest.raises(InviteError, match=why):
        DhtSettings(MANIFEST, **change)  # type: ignore[arg-type]


def test_settings_survive_the_way_to_the_process() -> None:
    settings = DhtSettings(MANIFEST, listen=("/ip4/0.0.0.0/tcp/4001",), announce=(GLOBAL,), lifetime=60.0)
    assert DhtSettings.from_wire(settings.to_wire()) == settings
    with pytest.raises(ValueError, match="lifetime"):
        DhtSettings(MANIFEST, lifetime=3600.0)
