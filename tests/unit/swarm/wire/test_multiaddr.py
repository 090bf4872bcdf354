"""Which addresses a node tells others, and settings that cannot work."""

from __future__ import annotations

import asyncio

import pytest
from announcing import MANIFEST

from swarm.errors import InviteError
from swarm.network.ipc import DhtSettings
from swarm.wire.identity import Identity
from swarm.wire.multiaddr import Address, parse_known, resolved, widest

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


@pytest.mark.parametrize(
    ("text", "literal", "everywhere"),
    [
        ("/ip4/8.8.8.8/tcp/1", True, True),
        ("/ip4/127.0.0.1/tcp/1", True, False),
        ("/ip6/::1/tcp/1", True, False),
        ("/ip6/2606:4700::1/tcp/1", True, True),
        ("/dns4/localhost/tcp/1", False, True),
        ("/dns/example.org/tcp/1", False, True),
        ("/ip6/64:ff9b::7f00:1/tcp/1", False, False),
        ("/ip6/64:ff9b:1::a00:1/tcp/1", False, False),
        ("/ip6/::ffff:10.0.0.1/tcp/1", False, False),
        ("/ip6/::10.0.0.1/tcp/1", False, False),
        ("/ip6/2002:a00:1::/tcp/1", False, False),
        ("/ip6/2001:0:a00:1::/tcp/1", False, False),
    ],
)
def test_what_is_checked_is_what_is_dialled(text: str, literal: bool, everywhere: bool) -> None:
    address = Address.parse(text)
    assert (address.is_literal, address.is_global) == (literal, everywhere)


@pytest.mark.parametrize(
    "host",
    [
        "ip6/fe80::1%eth0",
        "ip6/2606:4700::1%x",  # as good as global, and the daemon does not start with it
        "ip6/::1%\x1b[31m",
        "ip6/[::1]",
        "dns/a..b",
        "dns4/-",
        "dns4/a-.org",
        f"dns4/{'a' * 64}.org",
    ],
)
def test_hosts_that_a_libp2p_library_cannot_read_are_refused(host: str) -> None:
    with pytest.raises(InviteError, match=r"no valid (ip6|dns4?) host and port, as /(ip6|dns)/"):
        Address.parse(f"/{host}/tcp/4001")
    assert parse_known([f"/{host}/tcp/4001"]) == ()


def test_names_are_looked_up_by_who_announces_them() -> None:
    named = [Address.parse(f"/{kind}/localhost/tcp/4001") for kind in ("dns", "dns4")]
    unknown = Address.parse("/dns4/nobody.invalid/tcp/4001")
    literal = Address.parse("/ip4/203.0.113.7/tcp/4001")
    found = asyncio.run(resolved([*named, unknown, literal]))
    assert len(found) == 3
    assert all(address.is_literal for address in found)
    assert str(found[1]) == "/ip4/127.0.0.1/tcp/4001"
