"""Requests to hivemind's DHT nodes and their answers, as pure functions that do not import hivemind.

A unary call is a libp2p stream named like its method: one varint-delimited envelope each way, the method's own
message within. What nodes answer is untrusted; every count and size is bounded while it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import msgpack

from swarm.errors import DecodeError
from swarm.limits import MAX_ANNOUNCEMENT
from swarm.observer import protobuf
from swarm.wire.fields import refuse
from swarm.wire.identity import peer_text

FIND = "DHTProtocol.rpc_find"
# hivemind sends no message over 4 MiB; the envelope comes on top.
MAX_ANSWER = 4 * 2**20 + 1024

NODE_ID_SIZE = 20  # bytes: SHA-1
_DICTIONARY = 0x50  # msgpack extension type of hivemind's DictionaryDHTValue
_FOUND_DICTIONARY = 2  # FindResult.type
_MAX_NEAREST = 64  # hivemind's buckets hold 20
_MAX_ENTRIES = 4096  # of one dictionary: our nodes keep 1,024
_MAX_VALUE = MAX_ANNOUNCEMENT + 8  # hivemind wraps every value in msgpack once more


@dataclass(frozen=True, slots=True)
class Found:
    """What one node answered about one key."""

    values: tuple[bytes, ...]  # whatever lies there: nothing of it is checked
    nearest: tuple[tuple[bytes, str], ...]  # node id and PeerID of nodes that it holds nearer to the key


def key_id(key: str) -> bytes:
    """Where `key` lies among the node ids."""
    return hashlib.sha1(msgpack.packb(key)).digest()


def call(method: str, message: bytes, peer: bytes) -> bytes:
    """The request that calls `method` on the node with that PeerID; `message` is the method's own."""
    unary = protobuf.field(1, peer) + protobuf.field(2, method.encode()) + protobuf.field(3, message)
    return protobuf.delimited(protobuf.field(1, uuid4().bytes) + protobuf.field(3, unary))


def answer(envelope: bytes) -> bytes:
    """The method's own answer out of an envelope. Raises DecodeError, also when the node reports an error."""
    for number, inner in protobuf.read(envelope, most=8):
        if number in (2, 4) and isinstance(inner, bytes):  # as the daemon relays it, and as a node sends it
            for kind, payload in protobuf.read(inner, most=4):
                if kind == 1 and isinstance(payload, bytes):
                    return payload
    refuse("the node answered the call with an error")


def find_request(ids: Sequence[bytes]) -> bytes:
    """Asks for the values under `ids`. Names no node id of the asker: it is not to be asked in turn."""
    return b"".join(protobuf.field(2, i) for i in ids) + protobuf.field(3, b"")


def find_answer(message: bytes, keys: int) -> tuple[Found, ...]:
    """What the node knows about each of `keys`. Raises DecodeError."""
    results = protobuf.values(message, 2, most=keys + 4)
    if len(results) != keys:
        refuse("an answer to another number of keys")
    return tuple(_found(result) for result in results)


def dictionary_values(raw: bytes) -> tuple[bytes, ...]:
    """The values of a hivemind dictionary in msgpack, without sub-keys and expiries. Raises DecodeError.

    Read as a stream of small items, so nothing that a peer nests or repeats is ever built in memory.
    """
    try:
        wrapped = msgpack.unpackb(raw, max_ext_len=len(raw), max_array_len=0, max_map_len=0)
        if not isinstance(wrapped, msgpack.ExtType) or wrapped.code != _DICTIONARY:
            refuse("not a dictionary of the DHT")
        return _entries(wrapped.data)
    except (ValueError, msgpack.UnpackException) as error:
        raise DecodeError("not msgpack within bounds") from error


def _entries(data: bytes) -> tuple[bytes, ...]:
    items = msgpack.Unpacker(
        max_buffer_size=max(1, len(data)),
        max_bin_len=_MAX_VALUE,
        max_str_len=_MAX_VALUE,
        max_array_len=0,
        max_map_len=0,
        max_ext_len=0,
    )
    items.feed(data)
    if items.read_array_header() != 3:
        refuse("a dictionary of another form")
    items.unpack(), items.unpack()  # its capacity and latest expiry: claims of no use
    count = items.read_array_header()
    if count > _MAX_ENTRIES:
        refuse(f"a dictionary of {count} entries")
    return tuple(value for value in (_entry(items) for _ in range(count)) if value is not None)


def _entry(items: msgpack.Unpacker) -> bytes | None:
    if items.read_array_header() != 3:
        refuse("a dictionary entry of another form")
    _, wrapped, _ = items.unpack(), items.unpack(), items.unpack()
    if not isinstance(wrapped, bytes):
        return None
    value = msgpack.unpackb(wrapped, max_array_len=0, max_map_len=0, max_ext_len=0)
    return value if isinstance(value, bytes) else None


def _found(raw: bytes) -> Found:
    kind, value = 0, b""
    ids, peers = [], []
    for number, part in protobuf.read(raw, most=2 * _MAX_NEAREST + 8):
        if number == 1 and isinstance(part, int):
            kind = part
        elif isinstance(part, bytes):
            if number == 2:
                value = part
            elif number == 4:
                ids.append(part)
            elif number == 5:
                peers.append(part)
    held = dictionary_values(value) if kind == _FOUND_DICTIONARY else ()
    return Found(held, tuple(_near(ids, peers)))


def _near(ids: Sequence[bytes], peers: Sequence[bytes]) -> list[tuple[bytes, str]]:
    near = []
    for node, peer in zip(ids, peers, strict=False):
        try:
            name = peer_text(peer)
        except DecodeError:  # an RSA key: not one of ours
            continue
        if len(node) == NODE_ID_SIZE:
            near.append((node, name))
    return near
