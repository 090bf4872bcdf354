"""The DHT storage: others' announcements, bounded; a full shard is cleared at the cost of the crowd that fills it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from hivemind.dht.routing import DHTID
from hivemind.dht.storage import DHTLocalStorage, DictionaryDHTValue

from swarm.sampling.newcomer_places import subnet_of

# A shard holds 24 records by design and 40 at depth 0; 1,024 of 1 KiB stay below the 4 MiB over which hivemind
# answers nothing at all, and a full store takes 256 MiB.
MAX_SHARD_RECORDS = 1024
MAX_SHARDS = 256

# The peer whose request is being served; empty for records of this node itself.
STORER: ContextVar[str] = ContextVar("STORER", default="")

Origin = tuple[str, str]  # who brought a record, and the subnet that it names


class BoundedStorage(DHTLocalStorage):
    """A full shard loses a record of the origin that fills it most, the one that expires first.

    Keys cost nothing, so evicting by expiry alone let 1,024 of them push every honest record out of a shard.
    """

    def __init__(self, host_of: Callable[[bytes], str]) -> None:
        """`host_of` gives the address that a stored value names."""
        super().__init__(maxsize=MAX_SHARDS)
        self._host_of = host_of
        self._origins: dict[DHTID, dict[Any, Origin]] = {}

    def store_subkey(self, key: DHTID, subkey: Any, value: bytes, expiration_time: float) -> bool:
        stored: bool = super().store_subkey(key, subkey, value, expiration_time)
        if stored:
            dictionary: DictionaryDHTValue = self.data[key].value
            dictionary.maxsize = MAX_SHARD_RECORDS + 1  # so that what goes is for `_evict` to say
            self._origins.setdefault(key, {})[subkey] = STORER.get(), subnet_of(self._host_of(value))
            if len(dictionary) > MAX_SHARD_RECORDS:
                self._evict(key, dictionary)
        if len(self._origins) > 2 * MAX_SHARDS:
            self._origins = {kept: origins for kept, origins in self._origins.items() if kept in self.data}
        return stored

    def _evict(self, key: DHTID, dictionary: DictionaryDHTValue) -> None:
        self._origins[key] = {s: o for s, o in self._origins[key].items() if s in dictionary.data}
        origins = self._origins[key]
        storers, pairs = Counter(storer for storer, _ in origins.values()), Counter(origins.values())

        def crowd(subkey: Any) -> tuple[int, int, float]:
            origin = origins[subkey]
            return storers[origin[0]], pairs[origin], -dictionary.data[subkey].expiration_time

        victim = max(origins, key=crowd)
        del dictionary[victim], origins[victim]
