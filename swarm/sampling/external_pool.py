"""The external pool: verified groups of other peers that this node may train on, each handed out at most once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.rollout import Group
from policies.seeds import derive_generator
from policies.serialise import plain_group, read_group
from swarm.sampling.group_selection import Candidate, Select, uniform_over_peers
from swarm.sampling.sender_weight import fair_size


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Bounds on what the pool keeps."""

    per_peer: int = 32  # groups of one peer
    total: int = 256  # groups
    pixels: int = 128 * 2**20  # bytes of all images: 42 groups of four of 512 x 512
    max_age: float = 600.0  # seconds since the announcement was made
    group_size: int = 8  # rollouts kept of a group: those of an own one
    seed: int = 0  # of which rollouts of equal rewards are kept


@dataclass(frozen=True, slots=True)
class _Entry:
    created: float  # Unix seconds of the announcement
    group: Group
    image_bytes: int  # of the group, counted once


class ExternalPool:
    """Groups by peer, oldest first. Thread-safe: gossip adds while the loop draws.

    A full peer loses its own oldest group and a full pool the oldest of its largest peer, so that a loud
    peer pushes out nobody but itself.
    """

    def __init__(self, settings: PoolSettings = PoolSettings()) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._entries: dict[str, list[_Entry]] = {}
        self._generator = derive_generator(settings.seed, "group size")

    def add(self, group: Group, created: float) -> None:
        """Keeps an accepted external group, cut to its fair size, until it is drawn, too old or pushed out.

        Raises ValueError for a group that it does not take: it is never trained on from here.
        """
        if (peer := group.origin) is None or group.zero_advantage:
            raise ValueError("the pool takes external groups with a trainable signal only")
        with self._lock:
            group = fair_size(group, self.settings.group_size, self._generator)
            entries = self._entries.setdefault(peer, [])
            entries.append(_Entry(created, group, group.image_bytes))
            entries.sort(key=lambda entry: entry.created)
            if len(entries) > self.settings.per_peer:
                self._remove(peer, 0)
            if self._size() > self.settings.total:
                self._remove(max(self._entries, key=lambda peer: len(self._entries[peer])), 0)
            while sum(map(self._pixels, self._entries)) > self.settings.pixels:
                self._remove(max(self._entries, key=self._pixels), 0)

    def draw(
        self, count: int, generator: np.random.Generator, now: float, select: Select = uniform_over_peers
    ) -> tuple[Group, ...]:
        """Removes and returns at most `count` groups that `select` picks, none older than the maximum age at `now`."""
        with self._lock:
            self._expire(now)
            waiting = [
                Candidate(peer, entry.group)
                for peer in sorted(self._entries)
                for entry in self._entries[peer]
            ]
            drawn = tuple(waiting[index].group for index in select(waiting, count, generator))
            taken = set(map(id, drawn))
            left = {p: [e for e in kept if id(e.group) not in taken] for p, kept in self._entries.items()}
            self._entries = {peer: entries for peer, entries in left.items() if entries}
        return drawn

    def expire(self, now: float) -> None:
        """Drops what is older than the maximum age."""
        with self._lock:
            self._expire(now)

    def counts(self) -> dict[str, int]:
        """Groups by peer."""
        with self._lock:
            return {peer: len(entries) for peer, entries in self._entries.items()}

    def __len__(self) -> int:
        with self._lock:
            return self._size()

    def snapshot(self) -> list[dict[str, Any]]:
        """Plain JSON-able data for the checkpoint."""
        with self._lock:
            entries = [entry for kept in self._entries.values() for entry in kept]
        return [{"created": entry.created, "group": plain_group(entry.group)} for entry in entries]

    def restore(self, snapshot: Sequence[dict[str, Any]]) -> None:
        """Takes over what `snapshot` gave, straight or through JSON, in place of what the pool holds."""
        with self._lock:
            self._entries.clear()
        for entry in snapshot:
            self.add(read_group(entry["group"]), entry["created"])

    def _size(self) -> int:
        return sum(map(len, self._entries.values()))

    def _pixels(self, peer: str) -> int:
        return sum(entry.image_bytes for entry in self._entries[peer])

    def _remove(self, peer: str, index: int) -> Group:
        entry = self._entries[peer].pop(index)
        if not self._entries[peer]:
            del self._entries[peer]
        return entry.group

    def _expire(self, now: float) -> None:
        oldest = now - self.settings.max_age
        fresh = {p: [e for e in entries if e.created >= oldest] for p, entries in self._entries.items()}
        self._entries = {peer: entries for peer, entries in fresh.items() if entries}
