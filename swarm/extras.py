"""py-libp2p, the optional package behind `murmur peers INVITE` and LAN discovery: whether it is here, how to get it.

Nothing here imports it: hivemind and libp2p cannot live in one process.
"""

from __future__ import annotations

import importlib.util

from policies.install_hints import install_extras
from swarm.errors import ExtraMissing

MODULES = ("libp2p", "multiaddr", "trio")


def install_command() -> str:
    return install_extras("observer")


def missing_libp2p(cause: str = "not installed") -> str:
    """A sentence for whoever misses it: why, the command, and what that command itself needs."""
    return (
        f"py-libp2p cannot be loaded ({cause}); install it with: {install_command()} "
        "(its fastecdsa is compiled: on Debian, apt-get install gcc python3-dev libgmp-dev first)"
    )


def has_libp2p() -> bool:
    """Whether the modules are there, without loading them."""
    return all(importlib.util.find_spec(name) is not None for name in MODULES)


def require_libp2p() -> None:
    """Raises ExtraMissing with what to do."""
    if not has_libp2p():
        raise ExtraMissing(missing_libp2p())
