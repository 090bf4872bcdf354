"""The in-memory transport: a swarm inside one process, for tests and benchmarks, with seeded faults and no sockets."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from policies.seeds import derive_generator
from swarm.errors import FetchFailed, TransportDown
from swarm.exchange.told_refusals import NO_REFUSALS
from swarm.limits import MAX_LIFETIME
from swarm.transport.base import TransportStatus
from swarm.wire.announcement import Announcement, Summary

# With a delay, the body before the latest is the one that others still see.
_KEPT = 8

Offer = tuple[Announcement, bytes]


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong between nodes. Equal seeds give equal faults, whatever the order of calls."""

    delay: float = 0.0  # seconds until others see an announcement
    loss: float = 0.0  # share of fetches that fail, 0..1
    # Peers reach each other only within one part; peers in no part are cut off. None: all reach all.
    parts: tuple[frozenset[str], ...] | None = None
    seed: int = 0

    def connected(self, one: str, other: str) -> bool:
        return self.parts is None or any({one, other} <= part for part in self.parts)

    def loses(self, reader: str, digest: bytes, attempt: int) -> bool:
        return derive_generator(self.seed, "loss", reader, digest.hex(), attempt).random() < self.loss


class MemoryHub:
    """What the nodes of one swarm have published: the latest bodies of each peer. Thread-safe.

    `faults` may be replaced at any time.
    """

    def __init__(self, swarm: str, clock: Callable[[], float], faults: Faults = Faults()) -> None:
        self.swarm, self.clock, self.faults = swarm, clock, faults
        self._lock = threading.Lock()
        self._told: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._offers: defaultdict[str, deque[Offer]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def join(self, peer: str, addresses: tuple[str, ...] = ()) -> MemoryTransport:
        """The transport of a node called `peer`, and the addresses that it announces."""
        return MemoryTransport(self, peer, addresses)

    def offer(self, announcement: Announcement, body: bytes) -> None:
        """Puts up an announcement as it is, true or not: this is where a simulated attacker comes in."""
        with self._lock:
            self._offers[announcement.peer].append((announcement, body))

    def publish(
        self, peer: str, body: bytes, summary: Summary, addresses: tuple[str, ...], created: float
    ) -> Announcement:
        """Puts up a body with an announcement that is true of it."""
        announcement = Announcement(
            swarm=self.swarm,
            epoch=0,
            depth=0,
            shard=0,
            peer=peer,
            created=created,
            expires=created + MAX_LIFETIME,
            digest=hashlib.sha256(body).digest(),
            size=len(body),
            summary=summary,
            addresses=addresses,
        )
        self.offer(announcement, body)
        return announcement

    def tell(self, peer: str, refused: Mapping[str, int]) -> None:
        """Notes what another left out of the bodies of `peer`."""
        with self._lock:
            self._told[peer].update({f"told_refused_{reason}": count for reason, count in refused.items()})

    def told(self, peer: str) -> dict[str, int]:
        """What `peer` was told, as counters of its transport."""
        with self._lock:
            return dict(self._told[peer])

    def withdraw(self, peer: str) -> None:
        with self._lock:
            self._offers.pop(peer, None)

    def visible(self, reader: str) -> list[Offer]:
        """What `reader` can see and reach now, newest first."""
        with self._lock:
            offers = [offer for kept in self._offers.values() for offer in reversed(kept)]
        now = self.clock()
        seen = [
            (announcement, body)
            for announcement, body in offers
            if announcement.peer != reader
            and self.faults.connected(reader, announcement.peer)
            and announcement.created + self.faults.delay <= now < announcement.expires
        ]
        return sorted(seen, key=lambda offer: (-offer[0].created, offer[0].peer))


class MemoryTransport:
    """One node's side of a `MemoryHub`. Announcements are unsigned: nothing leaves the process."""

    def __init__(self, hub: MemoryHub, peer: str, addresses: tuple[str, ...] = ()) -> None:
        self._hub, self._peer, self._addresses = hub, peer, addresses
        self._closed = False
        self._lock = threading.Lock()
        self._counters: Counter[str] = Counter()
        self._attempts: Counter[bytes] = Counter()

    def wait_ready(self, timeout: float | None = None) -> None:
        self._check_open()

    def publish(self, body: bytes, summary: Summary) -> Announcement:
        self._check_open()
        announcement = self._hub.publish(self._peer, body, summary, self._addresses, self._hub.clock())
        self._count(published=1)
        return announcement

    def announcements(
        self, want: int, declined: Sequence[Announcement] = (), known: Sequence[str] = ()
    ) -> list[Announcement]:
        self._check_open()
        newest: dict[str, Announcement] = {}
        for announcement, _ in self._hub.visible(self._peer):
            newest.setdefault(announcement.peer, announcement)
        # As in a shard of the DHT, no host has a second place before each has one.
        met: Counter[str] = Counter()
        turns: list[int] = []
        for announcement in newest.values():
            turns.append(met[announcement.host])
            met[announcement.host] += 1
        in_turn = sorted(zip(turns, newest.values(), strict=True), key=lambda pair: pair[0])
        return [announcement for _, announcement in in_turn[:want]]

    def fetch(self, announcement: Announcement, refused: Mapping[str, int] = NO_REFUSALS) -> bytes:
        self._check_open()
        digest = announcement.digest
        with self._lock:
            self._attempts[digest] += 1
            attempt = self._attempts[digest]
        if self._hub.faults.loses(self._peer, digest, attempt):
            raise FetchFailed("lost on the way")
        for offered, body in self._hub.visible(self._peer):
            if offered == announcement:
                self._hub.tell(announcement.peer, refused)
                self._count(fetched=1, fetched_bytes=len(body))
                return body
        raise FetchFailed("no longer offered")

    def status(self) -> TransportStatus:
        peers = 0 if self._closed else len({offer.peer for offer, _ in self._hub.visible(self._peer)})
        detail = "closed" if self._closed else ""
        with self._lock:
            counters = {**self._counters, **self._hub.told(self._peer)}
            return TransportStatus(not self._closed, (), peers, counters, detail)

    def close(self) -> None:
        """Leaves the swarm; what was published is gone with it."""
        self._closed = True
        self._hub.withdraw(self._peer)

    def _count(self, **events: int) -> None:
        with self._lock:
            self._counters.update(events)

    def _check_open(self) -> None:
        if self._closed:
            raise TransportDown("this transport is closed: join the hub again")
