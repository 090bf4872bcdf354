"""The outbox: rounds of own groups on their way to the swarm. The oldest give way when nobody takes them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from policies.rollout import Group


@dataclass(frozen=True, slots=True)
class OwnRound:
    """One round's scored groups."""

    groups: tuple[Group, ...]
    round: int
    policy_version: int
    fingerprint: str


class Outbox:
    """At most `length` rounds, oldest first. Thread-safe."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._lock = threading.Lock()
        self._waiting: deque[OwnRound] = deque()

    def add(self, rounds: Sequence[OwnRound], *, before: bool = False) -> int:
        """Puts rounds at the end, or `before` all others; returns how many of the oldest were dropped for it."""
        with self._lock:
            joined = [*rounds, *self._waiting] if before else [*self._waiting, *rounds]
            surplus = max(0, len(joined) - self._length)
            self._waiting = deque(joined[surplus:])
        return surplus

    def take(self) -> list[OwnRound]:
        """All that wait; they wait no longer."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        return waiting
