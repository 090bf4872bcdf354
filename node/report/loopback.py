"""Requests meant for this machine: the check that a served page makes before it answers anything.

A page elsewhere whose name is made to point to loopback still sends its own name (DNS rebinding).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

HOST: Final = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9.-]+))(?::[0-9]{1,5})?")


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
    found = HOST.fullmatch(hosts[0].lower())
    if not found:
        return False
    name = found["six"] or found["name"]
    return name == "localhost" or is_loopback(name)
