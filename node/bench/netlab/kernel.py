"""Calls of the lab to Linux: commands with a deadline, TUN devices, and entering a namespace."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from node.bench.kit.options import BenchError
from policies.error_words import brief

COMMAND_TIMEOUT = 15.0  # seconds
_TUN = Path("/dev/net/tun")
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001  # bare IP packets
_CLONE_NEWNET = 0x40000000


class LabError(BenchError):
    """This machine cannot hold the network lab; the message says what is missing and how to get it."""


def obstacle(*, nat: bool = False) -> str | None:
    """Why the lab cannot run here, with the remedy; None where it can. `nat`: with NAT routers too."""
    if os.geteuid() != 0:
        return "network namespaces need root: run it with sudo"
    needed = {"ip": "iproute2", "unshare": "util-linux"} | ({"nft": "nftables"} if nat else {})
    for tool, package in needed.items():
        if shutil.which(tool) is None:
            return f"the network lab needs the command {tool!r}: apt-get install {package}"
    if not _TUN.exists():
        return f"the network lab needs {_TUN}: modprobe tun, or give the container that device"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, timeout=COMMAND_TIMEOUT)
    if made.returncode:
        return "this root may not make network namespaces: leave the container, or start it with --privileged"
    return None


def command(words: Sequence[str], *, text: str = "") -> str:
    """Runs a command with `text` as its input and returns its output. Raises LabError with what it said."""
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=COMMAND_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(words)}: no end after {COMMAND_TIMEOUT:g} s") from error
    if done.returncode:
        raise LabError(f"{' '.join(words)}: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout


def open_tun(name: str) -> int:
    """Makes a network interface in the calling thread's namespace, gone when the returned file is closed.

    Each read of the file gives one packet that left through the interface, each write makes one arrive.
    """
    device = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    except OSError as error:
        os.close(device)
        raise LabError(f"cannot make the network device {name}: {brief(error)}") from error
    return device


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Within the block, the processes, threads and sockets that this thread makes belong to `namespace`.

    They stay there after the block; the thread itself returns.
    """
    with Path("/proc/thread-self/ns/net").open() as home, Path("/run/netns", namespace).open() as away:
        _enter(away.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(namespace: int) -> None:
    # By ctypes: `os.setns` came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise LabError(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}")
