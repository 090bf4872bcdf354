"""The replay guard: what this node has seen of bodies, groups and texts, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypedDict

# Entries of each of the three memories; all full they take 8.4 MiB (tracemalloc, Python 3.11, x86-64).
# The bar is 10 MB; 16,384 entries took 9.5 MiB.
CAPACITY = 12_288
# Shorter texts coincide by nature ("42"), so one alone is no evidence of a copy.
TELLING_TEXT = 32  # characters
SKETCH = 8  # texts remembered of one group


class GuardState(TypedDict):
    """What a checkpoint keeps, oldest first; digests in hex."""

    bodies: list[str]
    groups: list[str]
    texts: list[tuple[str, str]]  # (text, peer)


class ReplayGuard:
    """Says whether a body, a peer's group or another peer's texts were here before. Thread-safe.

    When full it forgets the oldest; what is older than the verifier's maximum age is refused as stale anyway.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._bodies: OrderedDict[bytes, bytes] = OrderedDict()
        self._groups: OrderedDict[bytes, bytes] = OrderedDict()
        self._texts: OrderedDict[bytes, bytes] = OrderedDict()  # -> the peer that gave it first

    def knows_body(self, digest: bytes) -> bool:
        with self._lock:
            return digest in self._bodies

    def remember_body(self, digest: bytes) -> None:
        with self._lock:
            self._keep(self._bodies, digest, b"")

    def is_replay(self, peer: str, task: str, seed: int) -> bool:
        """This peer already gave a group of this problem, whatever its texts were."""
        with self._lock:
            return _digest(peer, task, seed) in self._groups

    def is_copy(self, peer: str, task: str, seed: int, texts: Sequence[str]) -> bool:
        """At least half of the group's telling texts came from another peer before, for the same problem."""
        sketch, giver = _sketch(task, seed, texts), _digest(peer)
        with self._lock:
            copied = sum(self._texts.get(text, giver) != giver for text in sketch)
        return bool(sketch) and 2 * copied >= len(sketch)

    def remember(self, peer: str, task: str, seed: int, texts: Sequence[str]) -> None:
        """From now on the problem counts as given by this peer, and the texts as its own."""
        sketch, giver = _sketch(task, seed, texts), _digest(peer)
        with self._lock:
            self._keep(self._groups, _digest(peer, task, seed), b"")
            for text in sketch:
                self._keep(self._texts, text, giver)

    def snapshot(self) -> GuardState:
        """Plain data for the checkpoint, so that a restart trains on nothing twice."""
        with self._lock:
            return GuardState(
                bodies=[body.hex() for body in self._bodies],
                groups=[group.hex() for group in self._groups],
                texts=[(text.hex(), giver.hex()) for text, giver in self._texts.items()],
            )

    def restore(self, state: GuardState) -> None:
        """Takes over what `snapshot` gave, in place of what the guard holds."""
        with self._lock:
            for memory in (self._bodies, self._groups, self._texts):
                memory.clear()
            for body in state["bodies"]:
                self._keep(self._bodies, bytes.fromhex(body), b"")
            for group in state["groups"]:
                self._keep(self._groups, bytes.fromhex(group), b"")
            for text, giver in state["texts"]:
                self._keep(self._texts, bytes.fromhex(text), bytes.fromhex(giver))

    def _keep(self, memory: OrderedDict[bytes, bytes], key: bytes, value: bytes) -> None:
        memory.setdefault(key, value)
        if len(memory) > self._capacity:
            memory.popitem(last=False)


def _sketch(task: str, seed: int, texts: Sequence[str]) -> list[bytes]:
    """Digests that stand for a group's texts.

    The smallest digests of the long texts, in whatever order these came. Without any, one of all texts in
    their order: two honest peers with eight short answers to one problem agree in up to 0.3 % of cases, and
    would in 3 % if order did not count. Empty for a group that says one thing only: honest peers agree on
    easy problems, and nothing is learnt from such a group.
    """
    distinct = set(texts)
    if len(distinct) < 2:
        return []
    telling = [text for text in distinct if len(text) >= TELLING_TEXT]
    if not telling:
        return [_digest(task, seed, *texts)]
    return sorted(_digest(task, seed, text) for text in telling)[:SKETCH]


def _digest(*parts: str | int) -> bytes:
    """16 bytes over parts that cannot run into one another."""
    state = blake2b(digest_size=16)
    for part in parts:
        data = str(part).encode()
        state.update(len(data).to_bytes(4, "big") + data)
    return state.digest()
