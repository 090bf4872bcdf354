"""The DHT validator bounds what a hivemind DHT stores, returns and decodes on this node.

Loaded in the transport's own process only.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextvars import ContextVar
from functools import partial
from typing import Any

import msgpack
from hivemind.dht.node import DHTNode
from hivemind.dht.protocol import DHTProtocol
from hivemind.dht.routing import DHTID
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.dht.validation import DHTRecord, RecordValidatorBase
from hivemind.utils.serializer import MSGPackSerializer
from hivemind.utils.timed_storage import ValueWithExpiration

from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementReason, AnnouncementRefused
from swarm.errors import DecodeError
from swarm.limits import MAX_ANNOUNCEMENT
from swarm.network.dht_protocol import refused
from swarm.network.dht_storage import MAX_SHARD_RECORDS, BoundedStorage
from swarm.wire.announcement import Announcement, shard_key
from swarm.wire.fields import refuse
from swarm.wire.identity import PEER_ID_SIZE, peer_bytes

MAX_NESTING = 16  # of msgpack extension types; hivemind's own messages nest 2 deep
# Of the answer that the running task reads: how many records were taken (True), and how many were not.
_ANSWER: ContextVar[Counter[bool] | None] = ContextVar("_ANSWER", default=None)


class AnnouncementValidator(RecordValidatorBase):
    """Accepts only announcements of this swarm, in their shard, under their owner's name, as long as signed.

    hivemind calls it for every record that a peer wants stored and for every one that a peer returns.
    """

    def __init__(self, announcement_filter: AnnouncementFilter) -> None:
        self._filter = announcement_filter

    def validate(self, record: DHTRecord) -> bool:
        return _noted(self._admits(record))

    def _admits(self, record: DHTRecord) -> bool:
        try:
            announcement = self._filter.admit(_unpack_value(record.value))
        except AnnouncementRefused:
            return False
        if not _belongs(announcement, record):
            self._filter.refused[AnnouncementReason.RECORD] += 1
            return False
        return True


def _noted(taken: bool) -> bool:
    """Counts a record of the answer that is being read."""
    if (answer := _ANSWER.get()) is not None:
        answer[taken] += 1
    return taken


def _unpack_value(value: object) -> bytes:
    """hivemind wraps every value in msgpack; anything but plain bytes becomes an announcement of no bytes."""
    if not isinstance(value, bytes) or len(value) > MAX_ANNOUNCEMENT + 8:
        return b""
    try:
        unpacked = msgpack.unpackb(value, max_array_len=0, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException):
        return b""
    return unpacked if isinstance(unpacked, bytes) else b""


def _belongs(announcement: Announcement, record: DHTRecord) -> bool:
    """Whether key, sub-key and expiry are the signed ones: nobody moves or prolongs the record of another."""
    a = announcement
    key = DHTID.generate(source=shard_key(a.swarm, a.epoch, a.depth, a.shard)).to_bytes()
    owner = msgpack.packb(peer_bytes(a.peer))
    signed: bool = (record.key, record.subkey, record.expiration_time) == (key, owner, a.expires)
    return signed


def install_depth_guard() -> None:
    """Bounds how deep hivemind's deserialiser follows nested extension types. Idempotent.

    It recurses through C for every level, so a message far below every size limit would end the process.
    """
    original = MSGPackSerializer._decode_ext_types
    if getattr(original, "guards_depth", False):
        return
    level = threading.local()

    def decode(type_code: int, data: bytes) -> Any:
        depth = getattr(level, "depth", 0)
        if depth >= MAX_NESTING:
            refuse(f"extension types nested over {MAX_NESTING} deep")
        level.depth = depth + 1
        try:
            return original(type_code, data)
        finally:
            level.depth = depth

    decode.guards_depth = True  # type: ignore[attr-defined]
    MSGPackSerializer._decode_ext_types = staticmethod(decode)


def harden(node: DHTNode) -> None:
    """Closes what hivemind 1.1 leaves open to a hostile replica, on one node.

    - One refused entry made it drop the whole dictionary: only the entry goes.
    - A dictionary came with its sender's capacity, which could evict everybody else's entries when merged.
    - An answer that claimed to expire at infinity ended the search at that replica.
    - An answer that named this node among the nearest ended its stores with a failed assertion.
    - Whoever answered with nothing that holds was asked again at every look, for megabytes each time.
    - Storage had no bound.
    """
    protocol = node.protocol
    protocol._validate_dictionary = partial(_keep_valid, protocol)
    protocol.call_find = partial(_find, protocol.call_find, protocol.node_id)
    protocol.storage = BoundedStorage(_host_of)


def _host_of(value: bytes) -> str:
    """The host that a stored record's announcement names; empty where there is none."""
    try:
        return Announcement.decode(_unpack_value(value)).host
    except DecodeError:
        return ""


def _keep_valid(protocol: DHTProtocol, key: bytes, dictionary: DictionaryDHTValue) -> bool:
    """Stands in for `DHTProtocol._validate_dictionary`: drops invalid entries; says whether any are left."""
    if len(dictionary.data) > MAX_SHARD_RECORDS:
        return _noted(False)  # before a signature is checked
    dictionary.maxsize = MAX_SHARD_RECORDS
    with dictionary.freeze():
        for subkey, (value, expiration) in list(dictionary.items()):
            owned = _is_owner(subkey) or _noted(False)
            if not (owned and protocol._validate_record(key, msgpack.packb(subkey), value, expiration)):
                del dictionary[subkey]
    expirations = [entry.expiration_time for entry in dictionary.data.values()]
    dictionary.latest_expiration_time = max(expirations, default=float("-inf"))
    return bool(expirations)


def _is_owner(subkey: object) -> bool:
    return isinstance(subkey, bytes) and len(subkey) == PEER_ID_SIZE


async def _find(original: Any, own: DHTID, peer: Any, keys: Any) -> Any:
    """Stands in for `DHTProtocol.call_find`: peers do not say when a dictionary expires, nor point back here.

    An answer of which most does not hold counts as none: hivemind then leaves the peer out for seconds, twice as long
    each time.
    """
    records = Counter[bool]()
    reading = _ANSWER.set(records)
    try:
        answer = await original(peer, keys)
    finally:
        _ANSWER.reset(reading)
    if records[False] > records[True]:
        refused["answer"] += 1
        return None
    for key, (found, nearest) in (answer or {}).items():
        if found is not None and isinstance(found.value, DictionaryDHTValue):
            found = ValueWithExpiration(found.value, found.value.latest_expiration_time)
        answer[key] = found, {node: where for node, where in nearest.items() if node != own}
    return answer
