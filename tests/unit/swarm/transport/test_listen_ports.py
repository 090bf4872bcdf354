"""A port that another program has is refused before a daemon starts on it, by name."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from announcing import MANIFEST

from swarm.errors import TransportDown
from swarm.network.ipc import DhtSettings
from swarm.transport import listen_ports
from swarm.transport.dht import DhtTransport
from swarm.transport.listen_ports import refuse_taken_ports

FAMILIES = {"ip4": (socket.AF_INET, "127.0.0.1", "0.0.0.0"), "ip6": (socket.AF_INET6, "::1", "::")}


def listener(family: str, host: str) -> socket.socket:
    """As go-libp2p listens."""
    taken = socket.socket(FAMILIES[family][0])
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == "ip6":
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        taken.bind((host, 0))
    except OSError:
        taken.close()
        pytest.skip(f"this machine has no {family}")
    taken.listen()
    return taken


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("theirs", [1, 2])
@pytest.mark.parametrize("ours", [1, 2])
def test_a_taken_port_is_named(family: str, theirs: int, ours: int) -> None:
    with listener(family, FAMILIES[family][theirs]) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TransportDown, match=f"TCP port {port} is taken by another program"):
            refuse_taken_ports(("/ip4/127.0.0.1/tcp/0", f"/{family}/{FAMILIES[family][ours]}/tcp/{port}"))
    refuse_taken_ports((f"/{family}/{FAMILIES[family][ours]}/tcp/{port}",))


def test_one_port_is_for_both_families_and_the_connections_of_before_do_not_hold_it() -> None:
    with listener("ip4", "127.0.0.1") as taken:
        port = taken.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as ours:
            theirs, _ = taken.accept()
            theirs.close()  # this end lingers
            taken.close()
            ours.recv(1)
        refuse_taken_ports((f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/0.0.0.0/tcp/{port}"))


def test_hosts_that_are_not_of_this_machine_are_named() -> None:
    for port in (4001, 0):
        with pytest.raises(TransportDown, match=r"203\.0\.113\.7 is no address of this machine"):
            refuse_taken_ports((f"/ip4/203.0.113.7/tcp/{port}",))
    with pytest.raises(TransportDown, match=r"/dns4/pond\.example/tcp/0: a name; give an address"):
        refuse_taken_ports(("/dns4/pond.example/tcp/0",))


@pytest.mark.parametrize(
    ("host", "number", "why"),
    [
        ("fe80::1", errno.EINVAL, "fe80::1 is good within one network alone; :: listens on all"),
        ("::ffff:10.0.0.1", errno.EINVAL, r"no use for ::ffff:10\.0\.0\.1 .*; 0\.0\.0\.0 listens"),
        ("::", errno.EAFNOSUPPORT, r"no use for :: .*; 0\.0\.0\.0 listens"),  # a system without IPv6
    ],
)
def test_addresses_that_a_system_cannot_take_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, host: str, number: int, why: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(listen_ports, "_GRACE", 0.0)
    monkeypatch.setattr(listen_ports.socket, "socket", refuse)
    with pytest.raises(TransportDown, match=why):
        refuse_taken_ports((f"/ip6/{host}/tcp/0",))


def test_a_transport_on_a_taken_port_is_refused_at_once_and_starts_nothing() -> None:
    with listener("ip4", "127.0.0.1") as taken:
        listen = (f"/ip4/0.0.0.0/tcp/{taken.getsockname()[1]}",)
        with pytest.raises(TransportDown, match="is taken by another program"):
            DhtTransport(DhtSettings(MANIFEST, listen=listen))
