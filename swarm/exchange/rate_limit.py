"""Rate limits: token buckets for the bytes and questions that a node gives and takes, in all, by peer and by host."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from swarm.newest_kept import set_newest
from swarm.sampling.newcomer_places import IsKnown


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
        if self.wait(size) > 0:
            return False
        self._level -= size
        return True

    def give_back(self, size: float) -> None:
        """`size` bytes that were taken did not go."""
        self._level = min(self._burst, self._level + size)

    def wait(self, size: float) -> float:
        """Seconds until `size` bytes may go; infinite for more than a burst, and where nothing flows."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if size <= self._level:
            return 0.0
        if size > self._burst or not self._rate:
            return math.inf
        return (size - self._level) / self._rate


class PeerBuckets:
    """One token bucket a peer; the peers longest unheard of are forgotten first, with a full bucket."""

    _MAX_PEERS = 4096

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, peer: str, size: float) -> bool:
        bucket = self._buckets.get(peer) or TokenBucket(self._rate, self._burst, self._clock)
        set_newest(self._buckets, peer, bucket, self._MAX_PEERS)
        return bucket.take(size)


class SharedBuckets:
    """A budget for each peer, and one that the newcomers at a host have together: names are free, addresses are not."""

    def __init__(self, peers: PeerBuckets, hosts: PeerBuckets, is_known: IsKnown) -> None:
        self._peers, self._hosts, self._is_known = peers, hosts, is_known

    def take(self, peer: str, host: str, size: float) -> bool:
        """Whether the peer may have so much now, and its host too where it is a newcomer."""
        return self._peers.take(peer, size) and (self._is_known(peer) or self._hosts.take(host, size))
