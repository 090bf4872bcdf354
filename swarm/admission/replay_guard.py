"""The replay guard: what this node has seen of bodies, groups and texts, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypedDict

# Entries of each of the three memories; at worst, each of a peer of its own, they take 9 MB together (tracemalloc,
# Python 3.11, x86-64). The bar is 10 MB.
CAPACITY = 8_192
PEERS_THAT_FILL = 16  # so many peers, at least, it takes to fill a memory
MANY_KEYS = 16  # of one peer in a full memory: who has fewer loses none for it
# Shorter texts coincide by nature ("42"), so one alone is no evidence of a copy.
TELLING_TEXT = 32  # characters
TELLING_VARIETY = 3  # distinct short texts from which their order does not matter
SKETCH = 64  # texts remembered of one group, at most


class GuardState(TypedDict):
    """What a checkpoint keeps, oldest first: digests, each with that of the peer it came from, in hex."""

    bodies: list[tuple[str, str]]
    groups: list[tuple[str, str]]
    texts: list[tuple[str, str]]


class _Memory:
    """Keys by the peer that they came from. A peer beyond its quota loses its oldest, and a full memory the oldest of
    whoever has most in it; where nobody has many, the oldest of all.

    So nobody makes room for a second try by sending much, and sixteen peers together neither.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity, self._quota = capacity, max(1, capacity // PEERS_THAT_FILL)
        self._owners: dict[bytes, bytes] = {}  # oldest first
        self._keys: dict[bytes, list[bytes]] = {}  # by owner, oldest first
        # Owners of two keys and more, by how many they have: the largest is found at once, however many there are.
        self._of_size: dict[int, dict[bytes, None]] = {}
        self._largest = 1

    def owner(self, key: bytes) -> bytes | None:
        return self._owners.get(key)

    def keep(self, key: bytes, owner: bytes) -> None:
        """The first owner of a key stays its owner."""
        if key in self._owners:
            return
        self._owners[key] = owner
        keys = self._keys.setdefault(owner, [])
        keys.append(key)
        self._resized(owner, len(keys) - 1)
        if len(keys) > self._quota:
            self._forget_oldest(owner)
        if len(self._owners) > self._capacity:
            largest = self._of_size[self._largest] if self._largest >= MANY_KEYS else self._owners.values()
            self._forget_oldest(next(iter(largest)))

    def _forget_oldest(self, owner: bytes) -> None:
        keys = self._keys[owner]
        del self._owners[keys.pop(0)]
        self._resized(owner, len(keys) + 1)
        if not keys:
            del self._keys[owner]

    def _resized(self, owner: bytes, before: int) -> None:
        """Notes that an owner of `before` keys has as many as are listed now, one more or one less."""
        now = len(self._keys[owner])
        if before > 1:
            del self._of_size[before][owner]
            if not self._of_size[before]:
                del self._of_size[before]
        if now > 1:
            self._of_size.setdefault(now, {})[owner] = None
        if now > self._largest or self._largest not in self._of_size:
            self._largest = max(now, 1)

    def clear(self) -> None:
        for table in (self._owners, self._keys, self._of_size):
            table.clear()
        self._largest = 1

    def items(self) -> list[tuple[str, str]]:
        """Keys and owners in hex, oldest first."""
        return [(key.hex(), owner.hex()) for key, owner in self._owners.items()]

    def restore(self, items: Sequence[Sequence[str]]) -> None:
        """Takes over what `items` gave."""
        self.clear()
        for item in items:
            key, owner = (item, "") if isinstance(item, str) else item  # checkpoints of before name no owner
            self.keep(bytes.fromhex(key), bytes.fromhex(owner))


class ReplayGuard:
    """Says whether a body, a peer's group or another peer's texts were here before. Thread-safe.

    What it forgets, and is older than the verifier's maximum age, is refused as stale anyway.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._lock = threading.Lock()
        self._bodies, self._groups = _Memory(capacity), _Memory(capacity)
        self._texts = _Memory(capacity)  # owned by the peer that gave them first

    def knows_body(self, digest: bytes) -> bool:
        with self._lock:
            return self._bodies.owner(digest) is not None

    def remember_body(self, digest: bytes, peer: str) -> None:
        with self._lock:
            self._bodies.keep(digest, _digest(peer))

    def is_replay(self, peer: str, task: str, seed: int) -> bool:
        """This peer already gave a group of this problem, whatever its texts were."""
        with self._lock:
            return self._groups.owner(_digest(peer, task, seed)) is not None

    def known(self, peer: str, task: str, seed: int, texts: Sequence[str]) -> list[bool]:
        """Of each text, whether another peer gave it before for the same problem.

        Short texts coincide by nature, so a group of such alone is known as a whole or not at all.
        """
        return self._known(_sketch(task, seed, texts), peer, task, seed, texts)

    def remember(self, peer: str, task: str, seed: int, texts: Sequence[str]) -> None:
        """From now on the problem counts as given by this peer, and texts that nobody gave before as its own."""
        self._remember(_sketch(task, seed, texts), peer, task, seed)

    def meet(self, peer: str, task: str, seed: int, texts: Sequence[str]) -> list[bool]:
        """What of these is `known`, which are then remembered."""
        sketch = _sketch(task, seed, texts)
        known = self._known(sketch, peer, task, seed, texts)
        self._remember(sketch, peer, task, seed)
        return known

    def _known(
        self, sketch: Sequence[bytes], peer: str, task: str, seed: int, texts: Sequence[str]
    ) -> list[bool]:
        giver = _digest(peer)
        with self._lock:
            told = {text for text in sketch if self._texts.owner(text) not in (None, giver)}
        if not told:
            return [False] * len(texts)
        if len(sketch) == 1 and not any(map(_tells, texts)):
            return [True] * len(texts)
        if len(sketch) == SKETCH and 2 * len(told) >= SKETCH:
            return [True] * len(texts)  # a large group, of which no more was remembered
        return [_tells(text) and _digest(task, seed, text) in told for text in texts]

    def _remember(self, sketch: Sequence[bytes], peer: str, task: str, seed: int) -> None:
        giver = _digest(peer)
        with self._lock:
            self._groups.keep(_digest(peer, task, seed), giver)
            for text in sketch:
                self._texts.keep(text, giver)

    def snapshot(self) -> GuardState:
        """Plain data for the checkpoint, so that a restart trains on nothing twice."""
        with self._lock:
            return GuardState(
                bodies=self._bodies.items(), groups=self._groups.items(), texts=self._texts.items()
            )

    def restore(self, state: GuardState) -> None:
        """Takes over what `snapshot` gave, in place of what the guard holds."""
        with self._lock:
            self._bodies.restore(state["bodies"])
            self._groups.restore(state["groups"])
            self._texts.restore(state["texts"])


def _sketch(task: str, seed: int, texts: Sequence[str]) -> list[bytes]:
    """Digests that stand for a group's texts.

    The smallest digests of the long texts, in whatever order these came. Without any, one of all texts: in whatever
    order where there are three distinct ones, in which two honest peers with eight short answers to one problem agree
    in up to 0.4 % of cases; in their order where there are two, since without it they would in 1.4 %. Empty
    for a group that says one thing only: honest peers agree on easy problems, and nothing is learnt from such a group.
    """
    distinct = set(texts)
    if len(distinct) < 2:
        return []
    telling = list(filter(_tells, distinct))
    if not telling:
        return [_digest(task, seed, *(sorted(texts) if len(distinct) >= TELLING_VARIETY else texts))]
    return sorted(_digest(task, seed, text) for text in telling)[:SKETCH]


def _tells(text: str) -> bool:
    return len(text) >= TELLING_TEXT


def _digest(*parts: str | int) -> bytes:
    """16 bytes over parts that cannot run into one another."""
    state = blake2b(digest_size=16)
    for part in parts:
        data = str(part).encode()
        state.update(len(data).to_bytes(4, "big") + data)
    return state.digest()
