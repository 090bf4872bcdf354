"""Network addresses as libp2p writes them: `/ip4/203.0.113.7/tcp/4001/p2p/12D3Koo...`, TCP only.

QUIC is left out: the wheel's quic-go 0.40.0 predates the fixes of CVE-2023-49295 and CVE-2024-22189.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from swarm.errors import DecodeError, InviteError
from swarm.limits import MAX_ADDRESS, MAX_ADDRESSES
from swarm.wire.identity import peer_bytes

_FORM = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/([^/]{1,100})/tcp/([0-9]{1,5})(?:/p2p/([^/]{1,64}))?", re.ASCII)
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)
_EXAMPLES = {
    "ip4": "/ip4/203.0.113.7/tcp/4001",
    "ip6": "/ip6/2001:db8::7/tcp/4001",
    "dns": "/dns/node.example.org/tcp/4001",
}

# IPv6 addresses that stand for an IPv4 one: compatible, mapped, NAT64 (two), 6to4 and Teredo.
_TRANSLATED = tuple(
    map(
        ipaddress.ip_network,
        ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"),
    )
)


@dataclass(frozen=True, slots=True)
class Address:
    family: str  # ip4, ip6, dns, dns4 or dns6
    host: str
    port: int
    peer: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises InviteError that says what is wrong and what an address looks like."""
        match = _FORM.fullmatch(text) if len(text) <= MAX_ADDRESS else None
        if match is None:
            raise InviteError(f"{text[:MAX_ADDRESS]!r} is not of the form /ip4/HOST/tcp/PORT/p2p/PEER")
        family, host, port, peer = match.groups()
        if int(port) > 65535 or not _is_host(family, host):
            raise InviteError(f"{text!r} has no valid {family} host and port, as {_EXAMPLES[family[:3]]} has")
        if peer is not None:
            try:
                peer_bytes(peer)
            except DecodeError as error:
                raise InviteError(f"{text!r} names no Ed25519 peer: {error}") from error
        return cls(family, host, int(port), peer)

    @property
    def is_literal(self) -> bool:
        """Whether the host is the one that is dialled: no name, and no IPv6 form that a gateway turns into IPv4."""
        if self.family.startswith("dns"):
            return False
        host = ipaddress.ip_address(self.host)
        return host.is_loopback or not any(host in network for network in _TRANSLATED)

    @property
    def is_global(self) -> bool:
        """Whether it can be dialled from anywhere. Names count as global: they are looked up when dialled."""
        if self.family.startswith("dns"):
            return True
        return self.is_literal and ipaddress.ip_address(self.host).is_global

    @property
    def is_loopback(self) -> bool:
        return not self.family.startswith("dns") and ipaddress.ip_address(self.host).is_loopback

    def without_peer(self) -> Address:
        return replace(self, peer=None)

    def __str__(self) -> str:
        peer = f"/p2p/{self.peer}" if self.peer else ""
        return f"/{self.family}/{self.host}/tcp/{self.port}{peer}"


def hosts_and_ports(addresses: Iterable[Address]) -> str:
    """`203.0.113.7:4001, node.example.org:4001`, for messages."""
    return ", ".join(f"{a.host}:{a.port}" for a in addresses)


def parse_known(texts: Sequence[str]) -> tuple[Address, ...]:
    """The addresses among `texts` that this version can dial; others (relays, QUIC) are left out."""
    found = []
    for text in texts:
        try:
            found.append(Address.parse(text))
        except InviteError:
            continue
    return tuple(found)


async def resolved(addresses: Sequence[Address]) -> tuple[Address, ...]:
    """The addresses with names looked up, which is for their owner to do; names that nobody knows are left out."""
    loop, found = asyncio.get_running_loop(), []
    for address in addresses:
        if not address.family.startswith("dns"):
            found.append(address)
            continue
        kind = {"dns4": socket.AF_INET, "dns6": socket.AF_INET6}.get(address.family, socket.AF_UNSPEC)
        with suppress(OSError):
            answers = await loop.getaddrinfo(address.host, address.port, family=kind, type=socket.SOCK_STREAM)
            family, *_, (host, *_) = answers[0]
            found.append(
                replace(address, family="ip4" if family is socket.AF_INET else "ip6", host=str(host))
            )
    return tuple(found)


def widest(addresses: Sequence[Address]) -> tuple[Address, ...]:
    """What to announce of a node's own addresses, at most MAX_ADDRESSES: only the kind with the widest reach.

    A global address makes private ones useless to strangers, and a private one makes loopback useless.
    """
    reachable = [a for a in addresses if a.is_global] or [a for a in addresses if not a.is_loopback]
    return tuple(reachable or addresses)[:MAX_ADDRESSES]


def _is_host(family: str, host: str) -> bool:
    """Whether both libp2p libraries read it too: what they cannot ends a dial, or the daemon, in errors of theirs."""
    if family.startswith("dns"):
        return _HOST_NAME.fullmatch(host) is not None
    if "%" in host:  # an interface: each machine has its own names for those
        return False
    try:
        return ipaddress.ip_address(host).version == int(family[-1])
    except ValueError:
        return False
