"""DHT routing: Kademlia's tables over the server tier, and hivemind's beam search through them.

Ids are the leading 64 bits of SHA-1, in which no two of a simulation's servers agree. A table holds up to 20 servers
of every distance bucket. hivemind splits far buckets further, so its tables are rather larger and its searches no
longer than these.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from swarm.simulation.costs import LOOKUP_WORKERS

ID_BITS = 64
BEAM = 8  # as swarm.network.p2p_daemon asks for
_BUCKET = 20  # servers of one bucket, and of one answer
_REFRESH = 60.0  # seconds after which a table takes note of who came and went

Ids: TypeAlias = NDArray[np.uint64]


@dataclass(slots=True)
class _Table:
    ids: Ids
    made: float
    version: int


@dataclass(frozen=True, slots=True)
class Search:
    """How a search went: every id that was asked, in order, and the beam that it ended with, nearest first."""

    asked: tuple[int, ...]
    nearest: tuple[int, ...]


def id_of(source: bytes) -> int:
    return int.from_bytes(hashlib.sha1(source, usedforsecurity=False).digest()[: ID_BITS // 8], "big")


class Routing:
    """The tables of all nodes. Clients have one too, in which nobody finds the client."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator
        self._servers: list[int] = []  # ids, sorted
        self._version = 0  # counts joins and leaves
        self._tables: dict[int, _Table] = {}

    def join(self, server: int) -> None:
        insort(self._servers, server)
        self._version += 1

    def leave(self, server: int) -> None:
        self._servers.remove(server)
        self._version += 1
        self.forget(server)

    def forget(self, owner: int) -> None:
        """Drops the table of a node that is gone."""
        self._tables.pop(owner, None)

    def search(self, owner: int, key: int, now: float, asks: Callable[[int], bool]) -> Search:
        """From `owner`'s table to the servers nearest to `key`. `asks` says whether the server it asks answers.

        As in hivemind, a server that does not answer stays in the beam, and the search ends when no known server
        that is nearer than the beam's farthest is left unasked. Workers that ask at once ask a little more.
        """
        known = {owner ^ key}
        unasked: list[int] = []  # distances, nearest first
        beam: list[int] = []  # negative distances, farthest first
        asked: list[int] = []

        def meet(table: Ids) -> None:
            for distance in _nearest(table, key):
                if distance not in known:
                    known.add(distance)
                    if len(beam) < BEAM:
                        heapq.heappush(beam, -distance)
                        heapq.heappush(unasked, distance)
                    elif distance < -beam[0]:
                        heapq.heapreplace(beam, -distance)
                        heapq.heappush(unasked, distance)

        meet(self._table(owner, now))
        while unasked and unasked[0] <= -beam[0]:
            workers = (heapq.heappop(unasked) for _ in range(min(LOOKUP_WORKERS, len(unasked))))
            at_once = [distance ^ key for distance in workers if distance <= -beam[0]]
            asked += at_once
            for server in [server for server in at_once if asks(server)]:
                meet(self._table(server, now))
        return Search(tuple(asked), tuple(-distance ^ key for distance in sorted(beam, reverse=True)))

    def _table(self, owner: int, now: float) -> Ids:
        table = self._tables.get(owner)
        if table is None or (table.version != self._version and now - table.made >= _REFRESH):
            table = self._tables[owner] = _Table(self._fill(owner), now, self._version)
        return table.ids

    def _fill(self, owner: int) -> Ids:
        """Up to `_BUCKET` servers of each distance bucket, drawn at random."""
        found: list[int] = []
        low, high = 0, len(self._servers)  # the servers that share all higher bits with the owner
        for bit in range(ID_BITS - 1, -1, -1):
            if high - low <= 1:
                break
            middle = bisect_left(self._servers, (owner >> bit | 1) << bit, low, high)
            inner, outer = (low, middle), (middle, high)
            if owner >> bit & 1:
                inner, outer = outer, inner
            places = range(*outer)
            found += [self._servers[at] for at in self._generator.sample(places, min(_BUCKET, len(places)))]
            low, high = inner
        found += [server for server in self._servers[low:high] if server != owner]
        return np.array(found, dtype=np.uint64)


def _nearest(table: Ids, key: int) -> list[int]:
    """Distances to `key` of the servers that an answer names."""
    distances = table ^ np.uint64(key)
    if len(distances) > _BUCKET:
        distances = np.partition(distances, _BUCKET - 1)[:_BUCKET]
    nearest: list[int] = distances.tolist()
    return nearest
