"""What the observer makes of the bytes that DHT nodes send: hivemind's dictionaries, envelopes, whereabouts."""

from __future__ import annotations

import math
import random
import struct
import tracemalloc
from collections.abc import Sequence

import libp2p_or_skip  # noqa: F401
import msgpack
import pytest
from announcing import announce

from swarm.errors import DecodeError
from swarm.limits import MAX_ANNOUNCEMENT
from swarm.observer import dht, kad, protobuf
from swarm.observer.protobuf import field, varint
from swarm.wire.identity import Identity, peer_bytes

ALICE = Identity.ephemeral()
NODE = bytes(range(20))


def dictionary(entries: Sequence[object], *, capacity: object = None, code: int = 0x50) -> bytes:
    """As hivemind packs it: capacity, latest expiry, entries of sub-key, wrapped value and expiry."""
    return msgpack.packb(msgpack.ExtType(code, msgpack.packb([capacity, math.inf, entries])))


def entry(value: bytes, subkey: object = b"peer") -> list[object]:
    return [subkey, msgpack.packb(value), 1_800_000_000.0]


def find_answer(*results: bytes) -> bytes:
    return b"".join(field(2, r) for r in results) + field(3, field(1, NODE))


def found(value: bytes = b"", nearest: Sequence[tuple[bytes, bytes]] = (), kind: int = 2) -> bytes:
    ids = b"".join(field(4, node) for node, _ in nearest)
    peers = b"".join(field(5, peer) for _, peer in nearest)
    expiry = varint(3 << 3 | 1) + struct.pack("<d", 1.0)
    return b"\x08" + varint(kind) + field(2, value) + expiry + ids + peers


def test_a_dictionary_gives_its_values() -> None:
    announcements = [announce(Identity.ephemeral()).encode() for _ in range(40)]
    raw = dictionary([entry(a, peer_bytes(ALICE.peer_id)) for a in announcements], capacity=1024)
    assert dht.dictionary_values(raw) == tuple(announcements)
    assert dht.dictionary_values(dictionary([])) == ()


def test_values_that_are_no_bytes_are_left_out() -> None:
    strange = [[b"k", 7, 1.0], [b"k", msgpack.packb("text"), 1.0], [None, msgpack.packb(None), None]]
    assert dht.dictionary_values(dictionary([*strange, entry(b"good")])) == (b"good",)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        msgpack.packb([None, 1.0, []]),  # no extension
        dictionary([], code=0x40),  # a tuple
        msgpack.packb(msgpack.ExtType(0x50, b"")),
        msgpack.packb(msgpack.ExtType(0x50, msgpack.packb([None, 1.0]))),
        dictionary([entry(b"v")[:2]]),
        dictionary([[*entry(b"v"), 1]]),
        dictionary([b"v"]),
        dictionary([entry(bytes(MAX_ANNOUNCEMENT + 100))]),
        dictionary([entry(b"v", subkey=["a", ["b"]])]),
        dictionary([entry(b"v", subkey={"a": 1})]),
        dictionary([entry(b"v", subkey=msgpack.ExtType(0x40, b"\x90"))]),
        dictionary([entry(b"v")], capacity=[[1]]),
        dictionary([[b"k", msgpack.packb([1]), 1.0]]),
        dictionary([entry(b"v")])[:-1],
        dictionary([entry(b"")] * 4097),
    ],
)
def test_a_dictionary_of_another_form_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        dht.dictionary_values(raw)


def nested(levels: int, code: int) -> bytes:
    raw = b"\x90"
    for _ in range(levels):
        raw = msgpack.packb(msgpack.ExtType(code, raw))
    return raw


def test_nesting_and_false_lengths_cost_no_memory() -> None:
    hostile = [
        nested(2000, 0x50),
        nested(2000, 0x40),
        msgpack.packb(msgpack.ExtType(0x50, b"\x91" * 1_000_000)),
        msgpack.packb(msgpack.ExtType(0x50, b"\x93\xc0\xc0\xdd\xff\xff\xff\xff")),
        msgpack.packb(msgpack.ExtType(0x50, b"\x93\xc0\xc0\x91\x93\xc6\xff\xff\xff\xff")),
        b"\xc9\xff\xff\xff\xff\x50",
        # A million empty arrays: 56 bytes of Python each, if they were built.
        msgpack.packb(msgpack.ExtType(0x50, b"\x93\xc0\xc0" + b"\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000)),
    ]
    for raw in hostile:
        tracemalloc.start()
        try:
            with pytest.raises(DecodeError):
                dht.dictionary_values(raw)
            assert tracemalloc.get_traced_memory()[1] < 4 * len(raw) + 100_000
        finally:
            tracemalloc.stop()


def test_random_bytes_are_refused_or_read_but_never_crash() -> None:
    generator = random.Random(2)
    good = find_answer(found(dictionary([entry(b"v")]), [(NODE, peer_bytes(ALICE.peer_id))]))
    for _ in range(3000):
        raw = bytearray(good)
        for _ in range(generator.randrange(1, 4)):
            raw[generator.randrange(len(raw))] = generator.randrange(256)
        for read in (lambda r: dht.find_answer(r, 1), dht.answer, lambda r: kad.find_answer(r, b"p")):
            try:
                read(bytes(raw))
            except DecodeError:
                continue


def test_an_answer_gives_values_and_nearer_nodes() -> None:
    peer = peer_bytes(ALICE.peer_id)
    near = [(NODE, peer), (NODE, b"\x12\x20" + bytes(32)), (b"short", peer)]  # an RSA peer, a broken node id
    answer = find_answer(found(dictionary([entry(b"v")]), near), found(kind=0), found(b"regular", kind=1))
    first, second, third = dht.find_answer(answer, 3)
    assert first == dht.Found((b"v",), ((NODE, ALICE.peer_id),))
    assert (second, third) == (dht.Found((), ()), dht.Found((), ()))


@pytest.mark.parametrize("results", [0, 1, 3, 1000])
def test_an_answer_to_another_number_of_keys_is_refused(results: int) -> None:
    with pytest.raises(DecodeError):
        dht.find_answer(find_answer(*[found(kind=0)] * results), 2)


def test_an_answer_with_too_many_nodes_is_refused() -> None:
    near = [(NODE, peer_bytes(ALICE.peer_id))] * 1000
    with pytest.raises(DecodeError, match="fields"):
        dht.find_answer(find_answer(found(kind=0, nearest=near)), 1)


def test_an_envelope_holds_the_answer_or_an_error() -> None:
    sent = protobuf.delimited(b"")
    assert sent == b"\x00"
    for number in (2, 4):
        assert dht.answer(field(1, bytes(16)) + field(number, field(1, b"answer"))) == b"answer"
        with pytest.raises(DecodeError, match="error"):
            dht.answer(field(1, bytes(16)) + field(number, field(2, b"no such method")))
    with pytest.raises(DecodeError):
        dht.answer(b"")


def test_a_call_names_method_and_peer() -> None:
    raw = dht.call(dht.FIND, dht.find_request([NODE]), b"peer")
    size, at = protobuf.read_varint(raw, 0)
    assert size == len(raw) - at
    (_, call_id), (_, unary) = protobuf.read(raw[at:], most=2)
    assert isinstance(call_id, bytes) and len(call_id) == 16
    assert isinstance(unary, bytes)
    assert list(protobuf.read(unary, most=3)) == [
        (1, b"peer"),
        (2, b"DHTProtocol.rpc_find"),
        (3, b"\x12\x14" + NODE + b"\x1a\x00"),
    ]


def test_numbers_survive_the_wire() -> None:
    for value in (0, 1, 127, 128, 300, 2**32, 2**64 - 1):
        assert protobuf.read_varint(b"x" + varint(value), 1) == (value, 1 + len(varint(value)))
    with pytest.raises(ValueError, match="-1"):
        varint(-1)
    for endless in (b"", b"\x80", b"\xff" * 100):
        with pytest.raises(DecodeError, match="end"):
            protobuf.read_varint(endless, 0)


@pytest.mark.parametrize(
    "raw", [b"\x0a\x05abc", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\x0c", b"\x0d\x00", b"\x09\x00"]
)
def test_a_message_cut_short_or_of_unknown_fields_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        list(protobuf.read(raw, most=10))


def multiaddr(host: bytes, port: int, family: int = 4) -> bytes:
    return bytes([family]) + host + b"\x06" + port.to_bytes(2, "big")


def whereabouts(peer: bytes, *addresses: bytes) -> bytes:
    return b"\x08\x04" + field(8, field(1, peer) + b"".join(field(2, a) for a in addresses) + b"\x18\x01")


def test_whereabouts_are_those_of_the_peer_asked_for() -> None:
    peer, other = peer_bytes(ALICE.peer_id), peer_bytes(Identity.ephemeral().peer_id)
    here, there = multiaddr(bytes([192, 0, 2, 1]), 4001), multiaddr(bytes([192, 0, 2, 2]), 4001)
    unusable = [
        b"",
        b"\xff\xff",
        multiaddr(b"\x7f\0\0\x01", 0),
        b"\x04\x01",
        bytes(200),
        here[:5] + b"\x91\x02\x0f\xa1",
    ]
    answer = whereabouts(other, there) + whereabouts(
        peer, *unusable, here, multiaddr(bytes(15) + b"\x01", 7, 41)
    )
    assert [str(a) for a in kad.find_answer(answer, peer)] == ["/ip4/192.0.2.1/tcp/4001", "/ip6/::1/tcp/7"]
    assert kad.find_answer(whereabouts(other, there), peer) == ()
    assert kad.find_answer(b"", peer) == ()


def test_whereabouts_without_end_are_refused() -> None:
    peer = peer_bytes(ALICE.peer_id)
    with pytest.raises(DecodeError):
        kad.find_answer(whereabouts(b"x") * 1000, peer)
    with pytest.raises(DecodeError):
        kad.find_answer(whereabouts(peer, *[b"\x04"] * 1000), peer)


def test_the_ids_of_keys_are_hiveminds() -> None:
    assert dht.key_id("key") == bytes.fromhex("88c6f489594d5d9a9d57d93567bfb6ee377abd24")
