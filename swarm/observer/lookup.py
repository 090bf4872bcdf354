"""The iterative Kademlia look-up of a few keys: which nodes to ask next. Pure: the caller asks them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# Nearest nodes that are asked: 8 still find all 5 replicas among 10,000 nodes (as swarm.network.p2p_daemon has it).
_BEAM = 8
# Nodes asked at most. Honest swarms of 10,000 take 9-13 for a key; hostile nodes could name new ones for ever.
_MAX_ASKED = 48


class Lookup:
    """Walks towards all keys at once, so that a node is asked but once for them."""

    def __init__(self, ids: Sequence[bytes], start: Iterable[str]) -> None:
        """`ids` of the keys; `start`: PeerIDs to ask first, wherever their nodes lie."""
        self._keys = [int.from_bytes(i, "big") for i in ids]
        self._start = list(dict.fromkeys(start))
        self._nodes: dict[str, int] = {}  # node ids as others tell them: claims, of use for the order alone
        self._asked: set[str] = set()
        self._failed: set[str] = set()

    def next(self, most: int) -> list[str]:
        """Up to `most` peers to ask now; none when the walk is at its end. They count as asked."""
        nearest = [peer for key in self._keys for peer in self._nearest(key)]
        untried = [peer for peer in dict.fromkeys([*self._start, *nearest]) if peer not in self._asked]
        chosen = untried[: min(most, _MAX_ASKED - len(self._asked))]
        self._asked.update(chosen)
        return chosen

    def heard(self, near: Iterable[tuple[bytes, str]]) -> None:
        """What an answer named: node ids and PeerIDs."""
        for node, peer in near:
            self._nodes.setdefault(peer, int.from_bytes(node, "big"))

    def failed(self, peer: str) -> None:
        """`peer` did not answer: the next nearest takes its place."""
        self._failed.add(peer)

    def _nearest(self, key: int) -> list[str]:
        alive = (peer for peer in self._nodes if peer not in self._failed)
        return sorted(alive, key=lambda peer: self._nodes[peer] ^ key)[:_BEAM]
