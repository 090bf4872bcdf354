"""Requests meant for this machine: the check that a served page makes before it answers anything.

A page elsewhere whose name is made to point to loopback still sends its own name (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether this is an address of loopback; a name, and one that begins like an address, is none."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def names_loopback(hosts: Sequence[str]) -> bool:
    """Whether a request's Host headers are one, and name this machine's loopback; its port is left open."""
    if len(hosts) != 1:
        return False
    host = hosts[0].lower()
    if host.startswith("["):
        return is_loopback(host[1 : host.find("]")])
    name = host.partition(":")[0]
    return name == "localhost" or is_loopback(name)
