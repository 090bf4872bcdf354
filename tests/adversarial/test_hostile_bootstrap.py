"""Joining through liars: what they announce neither replaces those who were good, nor ends the search for others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from announcing import MANIFEST, NOW, announce
from hivemind.dht.protocol import DHTProtocol, ValidationError
from hivemind.dht.routing import DHTID
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.p2p import PeerID
from hivemind.proto import dht_pb2
from hivemind.utils.serializer import MSGPackSerializer

from node.bench.attacks.hostile_bootstrap import BEHAVIOURS, Liar
from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.discovery.clock_watch import ClockWatch
from swarm.network.address_book import AddressBook
from swarm.network.dht_protocol import GuardedProtocol, refused
from swarm.network.dht_validator import AnnouncementValidator, _keep_valid
from swarm.network.ipc import DhtSettings
from swarm.network.peer_cache import PeerCache
from swarm.network.supervisor import PeerSupervisor
from swarm.wire.announcement import shard_key
from swarm.wire.identity import Identity, peer_bytes
from swarm.wire.multiaddr import parse_known

OWN = Identity(bytes([3]) * 32).peer_id
HONEST = [Identity(bytes([1, number]) * 16) for number in range(4)]
CROWD = [Identity(bytes([2, number]) * 16) for number in range(200)]
LIAR_ID = PeerID(peer_bytes(Identity(bytes([9]) * 32).peer_id))
LIAR = f"/ip4/198.51.100.66/tcp/4001/p2p/{LIAR_ID}"


@pytest.fixture(autouse=True)
def everything_may_be_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AddressBook, "may_dial", lambda self, address: True)  # documentation addresses


def crowded_book(known: set[str], crowd: str, cache: Path | None = None) -> AddressBook:
    """Of a node whose only bootstrap is a liar, after honest peers announced, and then a crowd of new names."""
    store = AnnouncementStore(AnnouncementFilter(MANIFEST, lambda: NOW), OWN)
    for number, peer in enumerate(HONEST):
        place = f"/ip4/8.8.{number}.8/tcp/4001"
        store.add([announce(peer, created=NOW - 30.0, expires=NOW + 300.0, addresses=(place,)).encode()])
    for number, peer in enumerate(CROWD):
        store.add([announce(peer, addresses=(crowd.format(number),)).encode()])
    settings = DhtSettings(MANIFEST, (LIAR,), peer_cache=cache)
    return AddressBook(settings, MANIFEST.swarm_id, OWN, store, known.__contains__)


def peers_of(book: AddressBook) -> list[str]:
    return [a.peer for a in book.bootstrap_candidates() if a.peer]


def test_a_crowd_of_announcements_hides_no_known_peer_from_who_joins_anew() -> None:
    known = {peer.peer_id for peer in HONEST}
    candidates = peers_of(crowded_book(known, "/ip4/8.{}.4.4/tcp/4001"))
    assert known < set(candidates) and len(candidates) <= 1 + len(known) + 8
    assert known.isdisjoint(peers_of(crowded_book(set(), "/ip4/8.{}.4.4/tcp/4001"))), "the newest alone"


def test_of_strangers_few_of_a_subnet_are_joined_through() -> None:
    candidates = peers_of(crowded_book(set(), "/ip4/9.9.9.{}/tcp/4001"))
    assert sum(peer.peer_id in candidates for peer in CROWD) == 2
    assert all(peer.peer_id in candidates for peer in HONEST)


def test_where_a_stranger_was_reached_goes_before_where_nobody_was() -> None:
    book = crowded_book(set(), "/ip4/8.{}.4.4/tcp/4001")
    book.budget.note_spoke(parse_known(["/ip4/8.8.2.8/tcp/4001"]))
    assert peers_of(book)[1] == HONEST[2].peer_id


def test_who_was_good_is_there_after_a_restart_with_nobody_but_a_liar(tmp_path: Path) -> None:
    known, cache = {peer.peer_id for peer in HONEST}, tmp_path / "peers.txt"

    class Quiet:
        async def connect(self, addresses: Sequence[object]) -> None: ...

    for wave in range(3):
        book = crowded_book(known if wave == 0 else set(), "/ip4/8.{}.4.4/tcp/4001", cache)
        asyncio.run(book.maintain(cast(Any, Quiet())))
    assert {a.peer for a in PeerCache(cache).addresses[:4]} == known
    store = AnnouncementStore(AnnouncementFilter(MANIFEST, lambda: NOW), OWN)
    again = AddressBook(DhtSettings(MANIFEST, (LIAR,), peer_cache=cache), MANIFEST.swarm_id, OWN, store)
    assert known < set(peers_of(again))


@pytest.mark.parametrize(
    "fault",
    [ValidationError("local time must be within 3 seconds"), AssertionError("node id"), ValueError("")],
)
def test_an_answer_to_a_ping_that_does_not_hold_ends_no_join(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hivemind raised it, and did not join through the other bootstrap peers either."""
    node_id = DHTID(7)

    async def ping(self: Any, peer: PeerID, validate: bool = False, strict: bool = True) -> DHTID | None:
        if peer == LIAR_ID:
            raise fault
        return node_id

    monkeypatch.setattr(DHTProtocol, "call_ping", ping)
    protocol, honest = GuardedProtocol(_initialized_with_create=True), PeerID(peer_bytes(OWN))
    before = refused["ping"]

    async def join() -> list[DHTID | None]:
        return await asyncio.gather(*(protocol.call_ping(p, validate=True) for p in (LIAR_ID, honest)))

    assert asyncio.run(join()) == [None, node_id]
    assert refused["ping"] == before + 1 and GuardedProtocol.ping_fault is fault


def test_a_clock_that_is_no_number_is_no_clock() -> None:
    clocks = ClockWatch()
    for offset in (float("nan"), float("inf"), float("-inf")):
        clocks.note("liar", offset)
    assert (clocks.offset, clocks.warning) == (None, "")


@pytest.mark.parametrize("behaviour", [name for name in BEHAVIOURS if name not in ("nothing", "stall")])
def test_what_liars_answer_is_refused_and_counted_or_is_announcements_that_serve_nothing(
    behaviour: str,
) -> None:
    admitted = AnnouncementFilter(MANIFEST, lambda: NOW)
    validator = AnnouncementValidator(admitted)

    class Protocol:
        @staticmethod
        def _validate_record(key: bytes, subkey: bytes, value: bytes, expires: float) -> bool:
            from hivemind.dht.validation import DHTRecord

            return validator.validate(DHTRecord(key, subkey, value, expires))

    crowd = [announce(peer) for peer in CROWD[:8]]
    first = crowd[0]
    key = DHTID.generate(source=shard_key(first.swarm, first.epoch, first.depth, first.shard))
    result = dht_pb2.FindResult(type=dht_pb2.NOT_FOUND)
    BEHAVIOURS[behaviour](Liar(lambda: crowd, lambda what: None), key, result)
    if result.type == dht_pb2.FOUND_REGULAR:
        taken = Protocol._validate_record(key.to_bytes(), b"", result.value, result.expiration_time)
        assert not taken and admitted.refused["malformed"] == 1
        return
    dictionary = MSGPackSerializer.loads(result.value)
    assert isinstance(dictionary, DictionaryDHTValue)
    _keep_valid(cast(Any, Protocol()), key.to_bytes(), dictionary)
    left = {subkey for subkey, _ in dictionary.items()}
    assert len(left) <= len(crowd)
    if behaviour == "forged":
        assert not left and admitted.refused.total() > 0


@pytest.mark.parametrize("known", [False, True])
def test_a_newcomer_among_a_crowd_tries_those_it_is_connected_with_first(tmp_path: Path, known: bool) -> None:
    """Of a hundred names that lead nowhere it tried a dozen a cycle, and honest peers by chance."""

    class Network:
        async def connected(self, peers: Iterable[str]) -> set[str]:
            return {HONEST[0].peer_id, HONEST[1].peer_id} & set(peers)

    found = [announce(peer) for peer in (*CROWD[:100], *HONEST)]
    Identity(bytes([3]) * 32).save(tmp_path / "key")
    node = PeerSupervisor(DhtSettings(MANIFEST), tmp_path / "key")
    node._daemon = cast(Any, Network())
    node._look = cast(Any, AsyncMock())
    node._shard_reader.candidates = cast(Any, lambda want: found)
    told = asyncio.run(node.announcements(24, (), [HONEST[0].peer_id] if known else []))
    assert {HONEST[0].peer_id, HONEST[1].peer_id} <= {a.peer for a in told}
    assert len(told) == (len(found) if known else 8), "of all there are only who knows somebody"
