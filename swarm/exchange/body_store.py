"""Stores of the bodies that this node can serve, bounded in bytes."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from swarm.limits import MAX_LIFETIME
from swarm.sampling.newcomer_places import subnet_of


@dataclass(frozen=True, slots=True)
class ServeLimits:
    """How much a node gives to others."""

    slots: int = 16  # bodies under way at once; 128 at once had less than half the throughput of 32
    upload_rate: float = 20e6  # bytes a second, all peers together
    peer_rate: float = 4e6  # bytes a second, one peer
    download_rate: float = 20e6  # bytes a second that this node fetches
    stored: int = 64 * 2**20  # bytes of own bodies and copies of fetched ones
    mirrored: int = 32 * 2**20  # bytes of bodies kept for peers that cannot be dialled; 0 keeps none


class BodyStore:
    """Own bodies and copies of fetched ones, by digest. Copies make room first, longest unused first."""

    def __init__(self, capacity: int) -> None:
        """`capacity` in bytes, both kinds together."""
        self._capacity = capacity
        self._held = 0
        self._own: OrderedDict[bytes, bytes] = OrderedDict()
        self._copies: OrderedDict[bytes, bytes] = OrderedDict()

    def put_own(self, digest: bytes, body: bytes) -> None:
        self._add(self._own, digest, body)

    def put_copy(self, digest: bytes, body: bytes) -> None:
        if digest not in self._own:
            self._add(self._copies, digest, body)

    def get(self, digest: bytes) -> bytes | None:
        if digest in self._copies:
            self._copies.move_to_end(digest)
        return self._own.get(digest) or self._copies.get(digest)

    def _add(self, kind: OrderedDict[bytes, bytes], digest: bytes, body: bytes) -> None:
        self._held += len(body) - len(kind.get(digest, b""))
        kind[digest] = body
        kind.move_to_end(digest)
        while self._held > self._capacity and len(self._own) + len(self._copies) > 1:
            _, dropped = (self._copies or self._own).popitem(last=False)
            self._held -= len(dropped)


@dataclass(frozen=True, slots=True)
class _Kept:
    since: float  # monotonic seconds
    body: bytes
    host: str  # that it was brought from


class MirrorStore:
    """Bodies kept for peers that cannot be dialled: the newest of each, within a quota.

    Nobody's bodies make room for those of another, and once the store is half full a host gets an eighth of it and a
    subnet a quarter: a flood of names from a few addresses leaves room for others. What was not brought again for
    MAX_LIFETIME seconds is dropped.
    """

    _PER_PEER = 2  # the announced body, and the one before it while its announcement is about

    def __init__(self, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`capacity` in bytes."""
        self._capacity = capacity
        self._clock = clock
        self._kept: OrderedDict[tuple[str, bytes], _Kept] = OrderedDict()  # oldest first

    def put(self, peer: str, digest: bytes, body: bytes, host: str = "") -> bool:
        """Whether there is room for `body`, brought from `host`, with those of others; the peer's oldest give way."""
        if not self.has_room(peer, digest, len(body), host):
            return False
        self._kept.pop((peer, digest), None)
        for surplus in self._of(peer)[: 1 - self._PER_PEER]:
            del self._kept[surplus]
        self._kept[peer, digest] = _Kept(self._clock(), body, host)
        return True

    def has_room(self, peer: str, digest: bytes, size: int, host: str = "") -> bool:
        """Whether `put` would take a body of `size` bytes."""
        self._expire()
        staying = [key for key in self._of(peer) if key != (peer, digest)][1 - self._PER_PEER :]
        leaving = set(self._of(peer)) - set(staying)
        others = [kept for key, kept in self._kept.items() if key not in leaving]
        held = sum(len(kept.body) for kept in others) + size
        of_host = sum(len(kept.body) for kept in others if kept.host == host) + size
        subnet = subnet_of(host)
        of_subnet = sum(len(kept.body) for kept in others if subnet_of(kept.host) == subnet) + size
        fair = of_host <= self._capacity // 8 and of_subnet <= self._capacity // 4
        return held <= self._capacity and (fair or held <= self._capacity // 2)

    def get(self, digest: bytes) -> bytes | None:
        return next((kept.body for (_, of), kept in self._kept.items() if of == digest), None)

    @property
    def peers(self) -> int:
        """Peers that this node keeps bodies for."""
        self._expire()
        return len({peer for peer, _ in self._kept})

    def _of(self, peer: str) -> list[tuple[str, bytes]]:
        return [key for key in self._kept if key[0] == peer]

    def _expire(self) -> None:
        while self._kept and next(iter(self._kept.values())).since < self._clock() - MAX_LIFETIME:
            self._kept.popitem(last=False)
