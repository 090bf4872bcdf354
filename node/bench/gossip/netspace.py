"""A network of one's own, so that every byte on the loopback is the swarm's and nobody else's."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

import psutil

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1  # linux/sockios.h, linux/if.h
_LOOPBACKS = ("lo", "lo0")  # Linux, macOS


def enter_own_network() -> bool:
    """Moves this process, which must not have threads yet, into a new network with nothing but a loopback.

    False where that is not allowed or not known: the host's network stays. Raises OSError when the new loopback
    cannot be brought up.
    """
    if sys.platform != "linux":
        return False
    user, group = os.getuid(), os.getgid()
    if _unshare(_CLONE_NEWNET):
        _bring_up_loopback()
        return True
    if not _unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        return False
    _keep_names(user, group)
    _bring_up_loopback()
    return True


def loopback_bytes() -> int:
    """Bytes received on the loopback of this process's network since it is up: headers count, Unix sockets do not."""
    counters = psutil.net_io_counters(pernic=True, nowrap=False)
    return next(counters[name].bytes_recv for name in _LOOPBACKS if name in counters)


def _unshare(flags: int) -> bool:
    done: int = ctypes.CDLL(None).unshare(flags)
    return done == 0


def _keep_names(user: int, group: int) -> None:
    """In a new user namespace nobody has a name: gives this process back its own."""
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{user} {user} 1")
    (own / "gid_map").write_text(f"{group} {group} 1")


def _bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
