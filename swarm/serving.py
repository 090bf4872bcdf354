"""Bodies that this node can serve, bounded in bytes, and how fast it serves them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServeLimits:
    """How much a node gives to others."""

    slots: int = 16  # bodies under way at once; 128 at once had less than half the throughput of 32
    upload_rate: float = 20e6  # bytes a second, all peers together
    peer_rate: float = 4e6  # bytes a second, one peer
    stored: int = 64 * 2**20  # bytes of bodies held for others


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


class TokenBucket:
    """Lets `rate` bytes a second through, and bursts of `burst`."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._level = burst
        self._at = clock()

    def take(self, size: float) -> bool:
        """Whether `size` bytes may go now; takes nothing when they may not."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if size > self._level:
            return False
        self._level -= size
        return True


class PeerBuckets:
    """One token bucket a peer; the peers longest unheard of are forgotten first, with a full bucket."""

    _MAX_PEERS = 4096

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, peer: str, size: float) -> bool:
        bucket = self._buckets.setdefault(peer, TokenBucket(self._rate, self._burst, self._clock))
        self._buckets.move_to_end(peer)
        if len(self._buckets) > self._MAX_PEERS:
            self._buckets.popitem(last=False)
        return bucket.take(size)
