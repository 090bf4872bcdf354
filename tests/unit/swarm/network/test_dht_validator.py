"""What a node lets its DHT hold: only whole, signed announcements, in their place, for their signed life."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from announcing import MANIFEST, NOW, announce, unsigned
from hivemind.dht.routing import DHTID
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.dht.validation import DHTRecord
from hivemind.utils.serializer import MSGPackSerializer
from hivemind.utils.timed_storage import ValueWithExpiration

from swarm.discovery import announcement_filter as filter_module
from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementRefused
from swarm.errors import DecodeError
from swarm.limits import CLOCK_SKEW, MAX_LIFETIME
from swarm.network.dht_protocol import refused
from swarm.network.dht_storage import MAX_SHARD_RECORDS, STORER, BoundedStorage
from swarm.network.dht_validator import MAX_NESTING, AnnouncementValidator, harden, install_depth_guard
from swarm.wire.announcement import Announcement, shard_key
from swarm.wire.identity import Identity, peer_bytes

ALICE, MALLORY = Identity.ephemeral(), Identity.ephemeral()


def record(a: Announcement, **changes: Any) -> DHTRecord:
    key = DHTID.generate(source=shard_key(a.swarm, a.epoch, a.depth, a.shard)).to_bytes()
    valid = DHTRecord(key, msgpack.packb(peer_bytes(a.peer)), msgpack.packb(a.encode()), a.expires)
    return replace(valid, **changes)


@pytest.fixture
def announcement_filter() -> AnnouncementFilter:
    return AnnouncementFilter(MANIFEST, clock=lambda: NOW + 1.0)


@pytest.fixture
def validator(announcement_filter: AnnouncementFilter) -> AnnouncementValidator:
    return AnnouncementValidator(announcement_filter)


def test_an_honest_record_stays_valid_until_it_expires(
    announcement_filter: AnnouncementFilter, validator: AnnouncementValidator
) -> None:
    honest = record(announce(ALICE))
    times = iter([NOW + 1.0, NOW + 599.0, NOW + 100_000.0])
    announcement_filter._clock = lambda: next(times)
    assert [validator.validate(honest) for _ in range(3)] == [True] * 3
    assert not announcement_filter.refused


@pytest.mark.parametrize(
    "change",
    [
        {"key": bytes(20)},
        {"subkey": msgpack.packb(peer_bytes(MALLORY.peer_id))},
        {"subkey": msgpack.packb(None)},
        {"expiration_time": NOW + 601.0},
        {"expiration_time": NOW + 599.0},
        {"expiration_time": math.nan},
        {"expiration_time": math.inf},
    ],
)
def test_a_signed_announcement_in_another_place_is_refused(
    announcement_filter: AnnouncementFilter, validator: AnnouncementValidator, change: dict[str, Any]
) -> None:
    assert not validator.validate(record(announce(ALICE), **change))
    assert announcement_filter.refused == {"record": 1}


@pytest.mark.parametrize(
    "value",
    [b"", b"\xc1", msgpack.packb("text"), msgpack.packb([1]), msgpack.packb(b"x" * 2000), b"\x90" * 5000],
)
def test_junk_is_refused(
    announcement_filter: AnnouncementFilter, validator: AnnouncementValidator, value: bytes
) -> None:
    assert not validator.validate(record(announce(ALICE), value=value))
    assert announcement_filter.refused == {"malformed": 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"swarm": "0" * 32}, "swarm"),
        ({"depth": 5}, "swarm"),
        ({"created": NOW + CLOCK_SKEW + 2.0}, "future"),
        ({"expires": NOW + MAX_LIFETIME + 1.0}, "lifetime"),
        ({"expires": NOW}, "lifetime"),
        ({"epoch": 30_000_001}, "epoch"),
    ],
)
def test_the_gate_names_why(
    announcement_filter: AnnouncementFilter, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(AnnouncementRefused) as refused:
        announcement_filter.admit(announce(ALICE, **changes).encode())
    assert refused.value.reason == reason
    assert announcement_filter.refused == {reason: 1}


def test_nobody_chooses_a_shard(announcement_filter: AnnouncementFilter) -> None:
    own = announce(ALICE).shard
    with pytest.raises(AnnouncementRefused, match="shard"):
        announcement_filter.admit(announce(ALICE, shard=own ^ 1).encode())


def test_nobody_signs_for_another(
    announcement_filter: AnnouncementFilter, validator: AnnouncementValidator
) -> None:
    forged = replace(unsigned(ALICE.peer_id), signature=b"")
    forged = replace(forged, signature=MALLORY.sign(b"murmur-announcement-2\0" + forged.encode()))
    assert not validator.validate(record(forged))
    assert announcement_filter.refused == {"signature": 1}
    assert validator.validate(record(announce(ALICE)))


def test_a_signature_is_checked_once_and_what_is_remembered_is_bounded(
    announcement_filter: AnnouncementFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    check = Announcement.verify_signature
    monkeypatch.setattr(Announcement, "verify_signature", lambda a: checked.append(a.peer) or check(a))
    monkeypatch.setattr(filter_module, "_REMEMBERED", 2)
    raws = [announce(Identity.ephemeral()).encode() for _ in range(3)]
    for raw in (raws[0], raws[0], raws[0], raws[1], raws[2], raws[0]):
        announcement_filter.admit(raw)
    assert len(checked) == 4  # the first was forgotten for the third
    assert len(announcement_filter._verified) == 2


def nested(levels: int) -> bytes:
    data: bytes = msgpack.packb([])
    for _ in range(levels):
        data = msgpack.packb([msgpack.ExtType(MSGPackSerializer._TUPLE_EXT_TYPE_CODE, data)])
    return data


def test_the_depth_guard_bounds_nesting_and_nothing_else() -> None:
    install_depth_guard()
    install_depth_guard()
    with pytest.raises(DecodeError, match="nested"):
        MSGPackSerializer.loads(nested(MAX_NESTING + 1))
    MSGPackSerializer.loads(nested(MAX_NESTING))
    assert MSGPackSerializer.loads(MSGPackSerializer.dumps((1, (2, (3,))))) == (1, (2, (3,)))
    dictionary = DictionaryDHTValue()
    dictionary.store(b"peer", b"value", 4e9)
    again = MSGPackSerializer.loads(MSGPackSerializer.dumps(dictionary))
    assert again.get(b"peer") == (b"value", 4e9)


OWN = DHTID(99)


@pytest.fixture
def protocol(validator: AnnouncementValidator) -> SimpleNamespace:
    def validate(key: bytes, subkey: bytes, value: bytes, expiration: float) -> bool:
        return validator.validate(DHTRecord(key, subkey, value, expiration))

    async def nobody_home(peer: object, keys: object) -> None:
        return None

    bare = SimpleNamespace(_validate_record=validate, call_find=nobody_home, storage=None, node_id=OWN)
    harden(SimpleNamespace(protocol=bare))
    return bare


def test_one_bad_entry_does_not_hide_the_honest_ones(protocol: SimpleNamespace) -> None:
    honest = record(announce(ALICE))
    dictionary = DictionaryDHTValue(maxsize=1)
    with dictionary.freeze():
        dictionary.store(peer_bytes(ALICE.peer_id), honest.value, honest.expiration_time)
        dictionary.store(peer_bytes(MALLORY.peer_id), honest.value, math.inf)
        dictionary.store("junk", 7, 4e9)
        assert protocol._validate_dictionary(honest.key, dictionary)
    assert list(dictionary.data) == [peer_bytes(ALICE.peer_id)]
    assert dictionary.latest_expiration_time == honest.expiration_time
    assert dictionary.maxsize > 1000
    assert not protocol._validate_dictionary(bytes(20), dictionary)


def test_an_answer_neither_outlives_its_entries_nor_points_back() -> None:
    dictionary = DictionaryDHTValue()
    dictionary.store(b"peer", b"value", 4e9)
    nearest = {DHTID(1): "peer"}
    pointing_back = nearest | {OWN: "own"}

    async def find(peer: object, keys: object) -> Any:
        return {
            DHTID(7): (ValueWithExpiration(dictionary, math.inf), nearest),
            DHTID(8): (None, pointing_back),
        }

    node = SimpleNamespace(protocol=SimpleNamespace(call_find=find, node_id=OWN))
    harden(node)
    answer = asyncio.run(partial(node.protocol.call_find, "peer")([DHTID(7), DHTID(8)]))
    assert answer[DHTID(7)][0].expiration_time == 4e9
    assert answer[DHTID(8)] == (None, nearest)


def test_a_shard_holds_a_bounded_number_of_entries(protocol: SimpleNamespace) -> None:
    key = DHTID(7)
    for index in range(1100):
        assert protocol.storage.store_subkey(key, index.to_bytes(38, "big"), b"value", 4e9 + index)
    assert len(protocol.storage.get(key).value.data) == 1024
    for index in range(300):
        protocol.storage.store_subkey(DHTID(1000 + index), b"peer", b"value", 5e9 + index)
    assert len(protocol.storage.data) <= 257


def test_a_full_shard_loses_records_of_the_crowd_that_fills_it() -> None:
    """1,024 keys of one machine once pushed every honest record out: those expire sooner."""
    storage = BoundedStorage(lambda value: value.decode())
    honest = [index.to_bytes(38, "big") for index in range(20)]
    for index, subkey in enumerate(honest):
        STORER.set(f"honest-{index}")
        storage.store_subkey(DHTID(7), subkey, f"198.51.{index}.7".encode(), 4e9)
    for index in range(3000):
        STORER.set("mallory")
        host = f"203.0.113.{index % 200}" if index % 2 else f"{index % 200 + 1}.{index % 250}.0.1"
        storage.store_subkey(DHTID(7), (1000 + index).to_bytes(38, "big"), host.encode(), 5e9 + index)
    kept = storage.get(DHTID(7)).value.data
    assert len(kept) == MAX_SHARD_RECORDS
    assert set(honest) <= set(kept)


def test_a_dictionary_larger_than_a_shard_is_refused_before_its_signatures_are_checked(
    protocol: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    dictionary = DictionaryDHTValue()
    for index in range(MAX_SHARD_RECORDS + 1):
        dictionary.store(index.to_bytes(38, "big"), b"value", 4e9)
    monkeypatch.setattr(protocol, "_validate_record", None)
    assert not protocol._validate_dictionary(bytes(20), dictionary)


@pytest.mark.parametrize(("lies", "taken"), [(0, True), (1, True), (2, False), (64, False)])
def test_an_answer_of_which_most_does_not_hold_is_none(
    protocol: SimpleNamespace, lies: int, taken: bool
) -> None:
    """hivemind then asks that peer no more for a while; before, it was asked at every look."""
    honest = record(announce(ALICE))
    dictionary = DictionaryDHTValue(maxsize=100)
    dictionary.store(peer_bytes(ALICE.peer_id), honest.value, honest.expiration_time)
    for number in range(lies):
        dictionary.store(peer_bytes(Identity(bytes([9, number]) * 16).peer_id), honest.value, 4e9)

    async def find(peer: object, keys: object) -> Any:
        assert protocol._validate_dictionary(honest.key, dictionary)
        return {DHTID(7): (ValueWithExpiration(dictionary, 4e9), {})}

    protocol.call_find = find
    harden(SimpleNamespace(protocol=protocol))
    before = refused["answer"]
    answer = asyncio.run(protocol.call_find("peer", [DHTID(7)]))
    assert (answer is not None) is taken and refused["answer"] - before == (not taken)
