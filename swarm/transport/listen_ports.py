"""Listen addresses are tried by a plain bind before a daemon starts on them.

go-libp2p listens with SO_REUSEPORT: two daemons on one port both start, and the kernel deals their connections out.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from collections.abc import Sequence

from swarm.errors import TransportDown
from swarm.wire.multiaddr import Address

_GRACE = 2.0  # seconds for the daemon of a node that was just killed to go


def refuse_taken_ports(listen: Sequence[str]) -> None:
    """Raises TransportDown that names the first address which nobody can listen on now, and what to change."""
    for text in listen:
        address = Address.parse(text)
        if address.family.startswith("dns"):
            raise TransportDown(f"cannot listen on {address}: a name; give an address, and announce the name")
        _wait_for(address, time.monotonic() + _GRACE)


def _wait_for(address: Address, deadline: float) -> None:
    while True:
        try:
            return _try_bind(address)
        except TransportDown:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


def _try_bind(address: Address) -> None:
    family = socket.AF_INET6 if address.family == "ip6" else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Connections of an earlier daemon that linger on the port do not matter; whoever listens on it does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address.host, address.port))
    except OSError as error:
        raise TransportDown(f"cannot listen on {address}: {_reason(error, address)}") from error


def _reason(error: OSError, address: Address) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"TCP port {address.port} is taken by another program, maybe another node. Stop that one, or listen on "
            f"another port with --set swarm.listen='[\"/{address.family}/{address.host}/tcp/PORT\"]'"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address.host} is no address of this machine; 0.0.0.0 listens on all of them (IPv6: ::)"
    if error.errno == errno.EINVAL and ipaddress.ip_address(address.host).is_link_local:
        return f"{address.host} is good within one network alone; :: listens on all addresses of this machine"
    if error.errno in (errno.EINVAL, errno.EAFNOSUPPORT):
        return f"this machine has no use for {address.host} ({error.strerror}); 0.0.0.0 listens on all of its IPv4"
    if error.errno == errno.EACCES:
        return f"TCP port {address.port} is for the system; take one above 1023"
    return error.strerror or str(error)
