"""Peers that spend a node's rates, of bytes or of questions, spend their own share."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from announcing import MANIFEST, NOW, announce
from hivemind.dht.protocol import DHTProtocol
from hivemind.dht.routing import DHTID
from hivemind.p2p import PeerID
from hivemind.proto import dht_pb2

from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.errors import DecodeError, FetchFailed
from swarm.exchange import framing
from swarm.exchange.body_exchange import BodyExchange
from swarm.exchange.body_store import ServeLimits
from swarm.exchange.framing import Status, Stream, encode_request, read_frame, write_frame
from swarm.exchange.rate_limit import PeerBuckets
from swarm.limits import MAX_BODY
from swarm.network import dht_protocol
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership

OWN = Membership.of(MANIFEST, b"", Identity(bytes(32)).peer_id)
ALICE = Identity(bytes([1]) * 32)
BODY = random.Random(1).randbytes(3 * 2**20)
SYBILS = [Identity(bytes([2, n]) * 16).peer_id for n in range(12)]
KNOWN = [Identity(bytes([3, n]) * 16).peer_id for n in range(2)]
DIGEST = hashlib.sha256(BODY).digest()


def exchange(**serve: float) -> BodyExchange:
    store = AnnouncementStore(AnnouncementFilter(MANIFEST, clock=lambda: NOW), OWN.swarm)
    made = BodyExchange(OWN, ServeLimits(**serve), store, lambda peer: peer in KNOWN)  # type: ignore[arg-type]
    made.bodies.put_own(DIGEST, BODY)
    return made


async def pair() -> tuple[Stream, Stream]:
    left, right = socket.socketpair()
    return await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right)


async def ask(served: BodyExchange, peer: str, host: str) -> Status:
    (reader, writer), theirs = await pair()
    serving = asyncio.create_task(served.serve(peer, *theirs, host))
    await write_frame(writer, Status.OK, encode_request(OWN.swarm, DIGEST, b""))
    status, _ = await read_frame(reader, MAX_BODY)
    await read_frame(reader, MAX_BODY)
    writer.close()
    await serving
    return status


def test_a_crowd_of_newcomers_spends_half_of_the_upload() -> None:
    served = exchange(upload_rate=4e6)  # a burst of 16 MB, 8 MB of it for newcomers

    async def run() -> tuple[list[Status], list[Status]]:
        crowd = [await ask(served, SYBILS[n], f"203.0.{n}.1") for n in range(5)]
        return crowd, [await ask(served, peer, "198.51.100.1") for peer in KNOWN]

    crowd, known = asyncio.run(run())
    assert crowd == [Status.OK] * 2 + [Status.BUSY] * 3
    assert known == [Status.OK] * 2
    assert (served.counters["served"], served.counters["busy"]) == (4, 3)


def test_the_newcomers_at_one_address_share_four_peers_budgets() -> None:
    served = exchange(peer_rate=0.0)  # a burst of 8 MiB a peer, 32 MiB an address

    async def run() -> list[Status]:
        return [await ask(served, peer, "203.0.113.1") for peer in SYBILS]

    served._newcomers = served._upload
    assert asyncio.run(run()) == [Status.OK] * 10 + [Status.BUSY] * 2


def test_who_does_not_read_its_answer_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "GRACE", 0.05)
    monkeypatch.setattr(framing, "MIN_RATE", 1e9)
    served = exchange()

    async def run() -> None:
        (_, writer), theirs = await pair()
        serving = asyncio.create_task(served.serve("sybil", *theirs, "203.0.113.1"))
        await write_frame(writer, Status.OK, encode_request(OWN.swarm, DIGEST, b""))
        await serving
        writer.close()

    asyncio.run(run())
    assert served.counters == {"serve_failed": 1}
    assert served._slots._answering.total() == 0


def test_bodies_that_are_announced_large_and_never_come_use_up_no_download() -> None:
    fetching = exchange(download_rate=0.0)  # a burst of 4 MiB, and nothing that comes back

    async def nobody(peer: str, addresses: Sequence[str]) -> Stream:
        raise FetchFailed("cannot be reached")

    async def run() -> None:
        for _ in range(50):
            with pytest.raises(FetchFailed, match="cannot be reached"):
                await fetching.fetch(announce(ALICE, digest=bytes(32), size=MAX_BODY), nobody)

    asyncio.run(run())
    assert fetching.counters == {"fetch_failed": 50}


def test_one_caller_gets_so_many_keys_of_the_dht_and_others_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    answered: list[str] = []

    async def find(self: object, request: dht_pb2.FindRequest, context: SimpleNamespace) -> None:
        answered.append(context.remote_id)

    monkeypatch.setattr(DHTProtocol, "rpc_find", find)
    monkeypatch.setattr(dht_protocol, "questions", PeerBuckets(0.0, 64.0))
    before = dht_protocol.refused["request_rate"]
    protocol = dht_protocol.GuardedProtocol(_initialized_with_create=True)
    request = dht_pb2.FindRequest(keys=[bytes(20)] * dht_protocol.MAX_KEYS)

    async def run() -> None:
        for _ in range(4):
            await protocol.rpc_find(request, SimpleNamespace(remote_id="mallory"))
        with pytest.raises(DecodeError, match="too many keys"):
            await protocol.rpc_find(request, SimpleNamespace(remote_id="mallory"))
        await protocol.rpc_find(request, SimpleNamespace(remote_id="alice"))

    asyncio.run(run())
    assert answered == ["mallory"] * 4 + ["alice"]
    assert dht_protocol.refused["request_rate"] == before + 1


def test_a_question_for_twenty_thousand_keys_is_answered_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer took up to 1.7 s and 2.5 MB."""
    monkeypatch.setattr(dht_protocol, "refused", counted := Counter[str]())
    protocol = dht_protocol.GuardedProtocol(_initialized_with_create=True)
    request = dht_pb2.FindRequest(keys=[bytes(20)] * 20_000)
    with pytest.raises(DecodeError, match="at most 16"):
        asyncio.run(protocol.rpc_find(request, SimpleNamespace(remote_id="mallory")))
    assert counted == {"request_size": 1}


def test_an_id_beside_an_epochs_key_brings_nobody_into_the_routing_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    met: list[object] = []

    async def meet(self: object, node_id: object, peer_id: object, responded: bool = True) -> None:
        met.append(node_id)

    monkeypatch.setattr(DHTProtocol, "update_routing_table", meet)
    monkeypatch.setattr(dht_protocol, "refused", counted := Counter[str]())
    protocol = dht_protocol.GuardedProtocol(_initialized_with_create=True)
    beside = DHTID.generate(source="an epoch's key")
    asyncio.run(protocol.update_routing_table(beside, PeerID(b"mallory")))
    assert (met, counted) == ([], {"node_id": 1})
