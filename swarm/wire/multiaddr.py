"""Network addresses as libp2p writes them: `/ip4/203.0.113.7/tcp/4001/p2p/12D3Koo...`, TCP only.

QUIC is left out: the wheel's quic-go 0.40.0 predates the fixes of CVE-2023-49295 and CVE-2024-22189.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from swarm.errors import DecodeError, InviteError
from swarm.limits import MAX_ADDRESS, MAX_ADDRESSES
from swarm.wire.identity import peer_bytes

_FORM = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/([^/]{1,100})/tcp/([0-9]{1,5})(?:/p2p/([^/]{1,64}))?", re.ASCII)
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)


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
            raise InviteError(f"{text!r} has no valid {family} host and port")
        if peer is not None:
            try:
                peer_bytes(peer)
            except DecodeError as error:
                raise InviteError(f"{text!r} names no Ed25519 peer: {error}") from error
        return cls(family, host, int(port), peer)

    @property
    def is_global(self) -> bool:
        """Whether it can be dialled from anywhere. Names count as global: they are looked up when dialled."""
        return self.family.startswith("dns") or ipaddress.ip_address(self.host).is_global

    @property
    def is_loopback(self) -> bool:
        return not self.family.startswith("dns") and ipaddress.ip_address(self.host).is_loopback

    def without_peer(self) -> Address:
        return replace(self, peer=None)

    def __str__(self) -> str:
        peer = f"/p2p/{self.peer}" if self.peer else ""
        return f"/{self.family}/{self.host}/tcp/{self.port}{peer}"


def parse_known(texts: Sequence[str]) -> tuple[Address, ...]:
    """The addresses among `texts` that this version can dial; others (relays, QUIC) are left out."""
    found = []
    for text in texts:
        try:
            found.append(Address.parse(text))
        except InviteError:
            continue
    return tuple(found)


def widest(addresses: Sequence[Address]) -> tuple[Address, ...]:
    """What to announce of a node's own addresses, at most MAX_ADDRESSES: only the kind with the widest reach.

    A global address makes private ones useless to strangers, and a private one makes loopback useless.
    """
    reachable = [a for a in addresses if a.is_global] or [a for a in addresses if not a.is_loopback]
    return tuple(reachable or addresses)[:MAX_ADDRESSES]


def _is_host(family: str, host: str) -> bool:
    if family.startswith("dns"):
        return _HOST_NAME.fullmatch(host) is not None
    try:
        return ipaddress.ip_address(host).version == int(family[-1])
    except ValueError:
        return False
