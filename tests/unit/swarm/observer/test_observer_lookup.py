"""The walk towards keys through a swarm of nodes that each know some others."""

from __future__ import annotations

import hashlib
import random
from functools import cache

from swarm.observer.lookup import Lookup

Town = dict[str, list[tuple[bytes, str]]]


@cache
def node_id(name: str) -> bytes:
    return hashlib.sha1(name.encode()).digest()


def distance(name: str, key: bytes) -> int:
    return int.from_bytes(node_id(name), "big") ^ int.from_bytes(key, "big")


def town(size: int, generator: random.Random) -> Town:
    """Every node knows its 8 nearest and 12 others."""
    names = [f"node{n}" for n in range(size)]
    known = {}
    for name in names:
        near = sorted(names, key=lambda other: distance(other, node_id(name)))[1:9]
        known[name] = [(node_id(other), other) for other in [*near, *generator.sample(names, 12)]]
    return known


def walk(lookup: Lookup, known: Town, dead: frozenset[str] = frozenset()) -> list[str]:
    asked = []
    while batch := lookup.next(3):
        for name in batch:
            asked.append(name)
            if name in dead:
                lookup.failed(name)
            else:
                lookup.heard(known[name])
    return asked


def test_a_walk_asks_the_nearest_nodes_of_every_key_once() -> None:
    known = town(150, random.Random(1))
    keys = [node_id("key a"), node_id("key b")]
    asked = walk(Lookup(keys, ["node0", "node0"]), known)
    assert len(asked) == len(set(asked)) <= 48 and asked[0] == "node0"
    for key in keys:
        assert set(sorted(known, key=lambda name: distance(name, key))[:5]) <= set(asked)


def test_dead_nodes_are_replaced_by_the_next_nearest() -> None:
    known = town(150, random.Random(2))
    key = node_id("key")
    nearest = sorted(known, key=lambda name: distance(name, key))
    asked = walk(Lookup([key], ["node0"]), known, dead=frozenset(nearest[:3]))
    assert set(nearest[3:8]) <= set(asked)


def test_nodes_that_name_ever_nearer_ones_end_the_walk_all_the_same() -> None:
    key = bytes(20)
    lookup = Lookup([key], ["start"])
    asked = 0
    while batch := lookup.next(8):
        asked += len(batch)
        lookup.heard(
            (key[:12] + (2**60 - 100 * asked - n).to_bytes(8, "big"), f"{asked}.{n}") for n in range(64)
        )
    assert asked == 48


def test_a_lone_node_ends_the_walk() -> None:
    lookup = Lookup([bytes(20)], ["start"])
    assert lookup.next(8) == ["start"]
    lookup.failed("start")
    assert lookup.next(8) == []
