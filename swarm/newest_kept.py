"""Bounded memories: what was set last is kept, and the key set longest ago gives way."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def set_newest(memory: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Sets `key`, which is the newest then; beyond `most` keys the oldest is forgotten."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > most:
        memory.popitem(last=False)
