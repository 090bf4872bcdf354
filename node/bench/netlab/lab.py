"""Hosts on an internet of their own: each a network namespace, some behind a NAT.

Hosts have addresses that look public to libp2p (they exist in the lab only), those behind a NAT 192.168.1.2, so
that filters for private addresses do what they do on the real internet.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from node.bench.netlab.kernel import LabError, command, inside, obstacle, open_tun
from node.bench.netlab.names import Owner, left_behind, namespace_name
from node.bench.netlab.wire import Line, Wire
from policies.seeds import derive_generator

WAN, LAN = "wan0", "lan0"
MAX_HOSTS = 100
_END_SECONDS = 5.0  # for killed processes to be gone
_LABS = itertools.count(1)
_PRIVATE = "192.168.1.2"  # behind every NAT the same, as in most homes
_GATEWAY = "192.168.1.1"
# A router as they are sold: hosts behind it share its address, and what they did not ask for does not come in.
_NAT_RULES = f"""
table ip nat {{
  chain leaving {{ type nat hook postrouting priority srcnat; oifname "{WAN}" masquerade; }}
}}
table ip filter {{
  chain through {{
    type filter hook forward priority filter; policy drop;
    iifname "{LAN}" accept; ct state established,related accept;
  }}
  chain arriving {{
    type filter hook input priority filter; policy accept;
    iifname "{WAN}" ct state new drop;
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of the lab."""

    name: str
    namespace: str
    address: str  # its own
    seen_as: str  # the address that others see: its own, or its router's

    def inside(self) -> AbstractContextManager[None]:
        """Within the block, the processes, threads and sockets that this thread makes are this host's."""
        return inside(self.namespace)

    def pids(self) -> list[int]:
        """The processes that run on it."""
        return pids_in(self.namespace)

    def kill(self) -> None:
        """Ends all its processes at once, as a power cut does, and waits until they are gone."""
        kill_all(self.namespace)


class Lab:
    """Makes hosts inside a `with` and takes everything away at its end, however that comes.

    Raises LabError where the machine cannot hold it. What labs of dead processes left is swept at the start.
    """

    def __init__(self, seed: int = 0) -> None:
        self._owner = Owner.of(os.getpid())
        self._number = next(_LABS)
        self._stack = ExitStack()
        self.hosts: list[Host] = []  # routers too
        self.wire = Wire(derive_generator(seed, "netlab"))

    def host(self, name: str) -> Host:
        """A host with an address that others can dial."""
        if len(self.hosts) >= MAX_HOSTS:
            raise LabError(f"more than {MAX_HOSTS} hosts: the lab holds no more")
        # A network each: libp2p is wary of many peers from one.
        address = f"45.{10 + len(self.hosts)}.7.1"
        namespace = self._namespace(name)
        with inside(namespace):
            device = open_tun(WAN)
        self.wire.plug(address, device)
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{address}/32", "dev", WAN),
            ("link", "set", WAN, "up"),
            ("route", "add", "default", "dev", WAN),
        ):
            command(["ip", "-n", namespace, *words])
        self.hosts.append(Host(name, namespace, address, address))
        return self.hosts[-1]

    def host_behind_nat(self, name: str) -> Host:
        """A host behind a router of its own: it dials out and cannot be dialled."""
        if (missing := obstacle(nat=True)) is not None:
            raise LabError(missing)
        router, namespace = self.host(f"{name}-router"), self._namespace(name)
        ends = ("type", "veth", "peer", "name", LAN, "netns", namespace)
        command(["ip", "link", "add", LAN, "netns", router.namespace, *ends])
        for place, words in (
            (router.namespace, ("addr", "add", f"{_GATEWAY}/24", "dev", LAN)),
            (router.namespace, ("link", "set", LAN, "up")),
            (namespace, ("link", "set", "lo", "up")),
            (namespace, ("addr", "add", f"{_PRIVATE}/24", "dev", LAN)),
            (namespace, ("link", "set", LAN, "up")),
            (namespace, ("route", "add", "default", "via", _GATEWAY)),
        ):
            command(["ip", "-n", place, *words])
        with router.inside():
            command(["nft", "-f", "-"], text=_NAT_RULES)
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
        self.hosts.append(Host(name, namespace, _PRIVATE, router.address))
        return self.hosts[-1]

    def shape(self, hosts: Iterable[Host], line: Line) -> None:
        """From now on `hosts` send over such a line."""
        lines = {**self.wire.conditions.lines, **{host.seen_as: line for host in hosts}}
        self.wire.conditions = replace(self.wire.conditions, lines=lines)

    def cut(self, hosts: Iterable[Host]) -> None:
        """From now on nothing leaves or reaches `hosts`."""
        cut = self.wire.conditions.cut | {host.seen_as for host in hosts}
        self.wire.conditions = replace(self.wire.conditions, cut=cut)

    def mend(self, hosts: Iterable[Host]) -> None:
        """Undoes `cut`."""
        cut = self.wire.conditions.cut - {host.seen_as for host in hosts}
        self.wire.conditions = replace(self.wire.conditions, cut=cut)

    def part(self, hosts: Collection[Host]) -> None:
        """From now on `hosts` reach each other only, and so do all others."""
        self.wire.conditions = replace(self.wire.conditions, island=frozenset(host.seen_as for host in hosts))

    def heal(self) -> None:
        """Undoes `part`."""
        self.part(())

    def __enter__(self) -> Self:
        if (missing := obstacle()) is not None:
            raise LabError(missing)
        sweep()
        self._stack.callback(self.wire.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _namespace(self, host: str) -> str:
        assert self._owner is not None  # this process runs
        name = namespace_name(self._owner, self._number, host)
        self._stack.callback(remove, name)
        command(["ip", "netns", "add", name])
        return name


def sweep() -> list[str]:
    """Removes the namespaces of labs whose process is gone; returns their names."""
    names = [line.split()[0] for line in command(["ip", "netns", "list"]).splitlines() if line]
    found = left_behind(names, lambda owner: owner.alive)
    for name in found:
        remove(name)
    return found


def remove(namespace: str) -> None:
    """Ends what runs in a namespace and takes it away."""
    kill_all(namespace)
    with suppress(LabError):  # two labs may sweep at once
        command(["ip", "netns", "del", namespace])


def pids_in(namespace: str) -> list[int]:
    try:
        return [int(pid) for pid in command(["ip", "netns", "pids", namespace]).split()]
    except LabError:  # it is gone
        return []


def kill_all(namespace: str) -> None:
    """Kills the processes in a namespace and waits until they are gone. This process is never among them."""
    deadline = time.monotonic() + _END_SECONDS
    while (pids := [pid for pid in pids_in(namespace) if pid != os.getpid()]) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
