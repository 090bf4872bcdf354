"""The lab's internet: carries IPv4 packets between hosts, late, to one side only, or not at all.

It runs in user space, between TUN devices. So it needs no `netem` in the kernel, one mechanism does loss, delay,
cuts and partitions, and which packets are lost derives from a seed.
"""

from __future__ import annotations

import heapq
import ipaddress
import itertools
import os
import select
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

_HEADER = 20  # bytes of an IPv4 header without options
_TCP, _SYN, _ACK = 6, 2, 16
_MAX_PACKET = 65_536
_AT_ONCE = 64  # packets of one host before the next one's turn
_MAX_UNDER_WAY = 50_000  # packets; more than that are dropped, as a full router does
_LONGEST_POLL = 0.1  # seconds until a close is noticed


@dataclass(frozen=True, slots=True)
class Line:
    """What a host's way out does to its packets."""

    loss: float = 0.0  # share
    delay: float = 0.0  # seconds


@dataclass(frozen=True, slots=True)
class LinkConditions:
    """What holds on the internet right now; hosts by address."""

    lines: Mapping[str, Line] = field(default_factory=dict)  # hosts that are not named have a perfect one
    cut: frozenset[str] = frozenset()  # nothing leaves or reaches these
    island: frozenset[str] = frozenset()  # these and all others cannot reach each other

    def delay(self, source: str, destination: str, draw: float) -> float | None:
        """Seconds that a packet takes, or None where it never arrives. `draw` is uniform in [0, 1)."""
        line = self.lines.get(source, _PERFECT)
        apart = (source in self.island) != (destination in self.island)
        if apart or source in self.cut or destination in self.cut or draw < line.loss:
            return None
        return line.delay


_PERFECT = Line()


def opening_of(packet: bytes) -> bytes | None:
    """The two ports of a packet that opens a TCP connection; None for anything else. Of an IPv4 packet."""
    start = 4 * (packet[0] & 15)
    if packet[9] != _TCP or len(packet) < start + 14 or packet[start + 13] & (_SYN | _ACK) != _SYN:
        return None
    return packet[start : start + 4]


def destination_of(packet: bytes) -> str | None:
    """Where an IPv4 packet goes; None for anything else."""
    if len(packet) < _HEADER or packet[0] >> 4 != 4:
        return None
    return str(ipaddress.IPv4Address(packet[16:20]))


class Wire:
    """Carries packets on a thread of its own from the first `plug` to `close`. Owns the devices it is given."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.conditions = LinkConditions()  # replaced as a whole, so that the thread never sees half a change
        self.counters: Counter[str] = Counter()  # packets: carried, lost, and stray ones for nobody
        self._generator = generator
        self._devices: dict[str, int] = {}
        self._addresses: dict[int, str] = {}
        self._poll = select.epoll()
        self._under_way: list[tuple[float, int, str, bytes]] = []  # heap by the time of arrival
        self._order = itertools.count()
        self._knocks: dict[str, set[tuple[str, bytes]]] = {}  # connections opened, by watched address
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def plug(self, address: str, device: int) -> None:
        """Connects the host at `address`, whose packets the open TUN `device` gives and takes."""
        self._addresses[device] = address
        self._devices[address] = device
        self._poll.register(device, select.EPOLLIN)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
            self._thread.start()

    def watch(self, address: str) -> None:
        """From now on connections that are opened to `address`, where no host has to be, are counted."""
        self._knocks[address] = set()

    def knocks(self, address: str) -> Counter[str]:
        """Connections that were opened to a watched address so far, by host; a packet sent again is none."""
        return Counter(source for source, _ in list(self._knocks[address]))

    def close(self) -> None:
        """Ends the thread and takes all devices away."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self._poll.close()
        for device in self._addresses:
            os.close(device)
        self._addresses.clear()

    def _run(self) -> None:
        while not self._closing.is_set():
            due = self._under_way[0][0] - time.monotonic() if self._under_way else _LONGEST_POLL
            for device, _ in self._poll.poll(min(max(due, 0.0), _LONGEST_POLL)):
                self._take(device)
            self._deliver(time.monotonic())

    def _take(self, device: int) -> None:
        source = self._addresses[device]
        with suppress(OSError):  # nothing more to read, or the host is on its way out
            for _ in range(_AT_ONCE):
                self._send(source, os.read(device, _MAX_PACKET))

    def _send(self, source: str, packet: bytes) -> None:
        destination = destination_of(packet)
        if destination in self._knocks and (opening := opening_of(packet)):
            self._knocks[destination].add((source, opening))
        if destination not in self._devices:
            self.counters["stray"] += 1
            return
        delay = self.conditions.delay(source, destination, self._generator.random())
        if delay is None or len(self._under_way) >= _MAX_UNDER_WAY:
            self.counters["lost"] += 1
            return
        heapq.heappush(self._under_way, (time.monotonic() + delay, next(self._order), destination, packet))

    def _deliver(self, now: float) -> None:
        while self._under_way and self._under_way[0][0] <= now:
            _, _, destination, packet = heapq.heappop(self._under_way)
            try:
                os.write(self._devices[destination], packet)
                self.counters["carried"] += 1
            except OSError:  # its interface is down or takes no more
                self.counters["lost"] += 1
