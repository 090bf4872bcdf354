"""What hivemind takes on trust and this node does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hivemind.dht.protocol import DHTProtocol
from hivemind.dht.routing import DHTID
from hivemind.p2p import PeerID
from hivemind.p2p.p2p_daemon_bindings.control import DaemonConnector
from hivemind.proto import dht_pb2, p2pd_pb2
from hivemind.utils.multiaddr import Multiaddr

from swarm.errors import DecodeError
from swarm.network.dht_protocol import MAX_KEYS, GuardedControl, GuardedProtocol, node_id_of, refused
from swarm.network.dht_storage import STORER
from swarm.wire.identity import Identity, peer_bytes

PEER = PeerID(peer_bytes(Identity(b"p" * 32).peer_id))


@pytest.fixture(autouse=True)
def fresh_counters() -> Iterator[None]:
    refused.clear()
    yield
    refused.clear()


@pytest.fixture
def protocol() -> GuardedProtocol:
    return GuardedProtocol(_initialized_with_create=True)


def test_only_the_id_that_follows_from_its_key_brings_a_peer_into_the_routing_table(
    protocol: GuardedProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[DHTID | None] = []

    async def meet(self: Any, node_id: DHTID | None, peer_id: PeerID, responded: bool = True) -> None:
        met.append(node_id)

    monkeypatch.setattr(DHTProtocol, "update_routing_table", meet)
    for node_id in (DHTID(7), node_id_of(PEER), None):
        asyncio.run(protocol.update_routing_table(node_id, PEER))
    assert met == [node_id_of(PEER), None]
    assert refused == {"node_id": 1}


def test_neighbours_under_chosen_ids_are_left_out_of_answers(
    protocol: GuardedProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(self: Any, peer: PeerID, keys: object) -> dict[DHTID, Any]:
        return {DHTID(1): (None, {node_id_of(PEER): PEER, DHTID(2): PEER})}

    monkeypatch.setattr(DHTProtocol, "call_find", find)
    assert asyncio.run(protocol.call_find(PEER, [DHTID(1)])) == {DHTID(1): (None, {node_id_of(PEER): PEER})}
    assert refused == {"node_id": 1}


def test_a_request_for_too_many_keys_costs_nothing(protocol: GuardedProtocol) -> None:
    keys, context = [bytes(20)] * (MAX_KEYS + 1), SimpleNamespace(remote_id=PEER)
    for call in (
        protocol.rpc_find(dht_pb2.FindRequest(keys=keys), context),
        protocol.rpc_store(dht_pb2.StoreRequest(keys=keys), context),
    ):
        with pytest.raises(DecodeError, match="at most 16"):
            asyncio.run(call)
    assert refused == {"request_size": 2}


def test_what_is_stored_is_booked_on_who_stores_it_and_never_in_a_cache(
    protocol: GuardedProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[bool]]] = []

    async def store(self: Any, request: dht_pb2.StoreRequest, context: object) -> None:
        seen.append((STORER.get(), list(request.in_cache)))

    monkeypatch.setattr(DHTProtocol, "rpc_store", store)
    request = dht_pb2.StoreRequest(keys=[bytes(20)] * 2, in_cache=[True, False])
    asyncio.run(protocol.rpc_store(request, SimpleNamespace(remote_id=PEER)))
    assert seen == [(str(PEER), [False, False])]


def test_the_guarded_protocol_speaks_under_the_name_of_hiveminds() -> None:
    name = GuardedProtocol._get_handle_name(None, "rpc_ping")
    assert name == DHTProtocol._get_handle_name(None, "rpc_ping") == "DHTProtocol.rpc_ping"


def answer_to(call: UUID) -> bytes:
    """What the daemon writes on its link: the length, then the message."""
    unary = p2pd_pb2.CallUnaryResponse(response=b"found")
    message = p2pd_pb2.PersistentConnectionResponse(
        callId=call.bytes, callUnaryResponse=unary
    ).SerializeToString()
    assert len(message) < 128
    return bytes([len(message)]) + message


def test_an_answer_whose_caller_has_just_given_up_ends_no_other_call() -> None:
    """hivemind's reader ended there without a word, and every later call of the DHT waited for nothing."""

    async def run() -> bytes:
        control = GuardedControl(
            DaemonConnector(Multiaddr("/unix/nowhere.sock")), _initialized_with_create=True
        )
        given_up, waiting = uuid4(), uuid4()
        late, found = asyncio.Future[bytes](), asyncio.Future[bytes]()
        control._pending_calls |= {given_up: late, waiting: found}
        late.cancel()  # a time-out does this first, and takes the call off the list one turn of the loop later
        reader = asyncio.StreamReader()
        reader.feed_data(answer_to(given_up) + answer_to(waiting))
        reader.feed_eof()
        await control._read_from_persistent_conn(reader)
        return await asyncio.wait_for(found, 1.0)

    assert asyncio.run(run()) == b"found"
    assert refused == {"late_answer": 1}
