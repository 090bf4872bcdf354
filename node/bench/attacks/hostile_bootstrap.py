"""The hostile bootstrap: DHT nodes that a joiner starts from, each of which answers in a worse way of its own.

Two take part in pings, so that joining through them seems to work; the others have another time, say that they cannot
reach who asks, or have no node id. Imports hivemind; loaded in the hostile process only.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgpack
from hivemind.dht.routing import DHTID
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.proto import dht_pb2

from swarm.exchange.framing import Status, read_frame, write_frame
from swarm.limits import ANNOUNCEMENTS_PROTOCOL, FETCH_PROTOCOL, MAX_REQUEST
from swarm.network.dht_protocol import GuardedProtocol
from swarm.network.p2p_daemon import Daemon
from swarm.wire.announcement import Announcement
from swarm.wire.identity import peer_bytes

_FRESH = 10.0  # seconds that a crowd of made-up announcements is used
_HUGE = 3 * 2**20  # bytes of one answer

MakeCrowd = Callable[[], list[Announcement]]
# Fills in one result of an answer: what it holds, and who is said to be near.
Behave = Callable[["Liar", DHTID, dht_pb2.FindResult], None]


class Liar:
    """One hostile host's DHT nodes, who tell of each other and of a crowd of names that serve nothing."""

    def __init__(self, make_crowd: MakeCrowd, count: Callable[[str], None]) -> None:
        self._make_crowd, self._count = make_crowd, count
        self._crowd: list[Announcement] = []
        self._made = 0.0
        self._behaviours: dict[str, str] = {}  # by PeerID
        self._nodes: dict[DHTID, bytes] = {}  # the hostile ones

    @property
    def crowd(self) -> list[Announcement]:
        if time.monotonic() - self._made > _FRESH:
            self._crowd, self._made = self._make_crowd(), time.monotonic()
        return self._crowd

    def install(self) -> None:
        """From now on DHT nodes of this process take every record and answer as they were told to."""
        liar = self

        async def find(self: Any, request: dht_pb2.FindRequest, context: Any) -> dht_pb2.FindResponse:
            return await liar.answer(self, request)

        async def store(self: Any, request: dht_pb2.StoreRequest, context: Any) -> dht_pb2.StoreResponse:
            return dht_pb2.StoreResponse(store_ok=[True] * len(request.keys), peer=self.node_info)

        async def ping(self: Any, request: dht_pb2.PingRequest, context: Any) -> dht_pb2.PingResponse:
            behaviour = liar.behaviour_of(self)
            skew = 3600.0 if behaviour == "forged" else 0.0
            answer = dht_pb2.PingResponse(peer=self.node_info, dht_time=time.time() + skew)
            answer.available = behaviour != "huge"
            if behaviour == "stall":
                answer.peer.node_id = b"no id"
            return answer

        GuardedProtocol.rpc_ping = ping  # type: ignore[method-assign]
        GuardedProtocol.rpc_find = find  # type: ignore[method-assign]
        GuardedProtocol.rpc_store = store  # type: ignore[method-assign]

    async def take_up(self, daemon: Daemon, behaviour: str) -> None:
        """Lets a daemon behave like that from now on, and lie on streams as well."""
        protocol = daemon._node.protocol
        self._behaviours[str(protocol.p2p.peer_id)] = behaviour
        self._nodes[protocol.node_id] = protocol.p2p.peer_id.to_bytes()
        await daemon.serve(ANNOUNCEMENTS_PROTOCOL, self._tell)
        await daemon.serve(FETCH_PROTOCOL, self._serve)

    def behaviour_of(self, protocol: Any) -> str:
        return self._behaviours.get(str(protocol.p2p.peer_id), "nothing")

    async def answer(self, protocol: Any, request: dht_pb2.FindRequest) -> dht_pb2.FindResponse:
        behaviour = self.behaviour_of(protocol)
        self._count(f"{behaviour}_answers")
        response = dht_pb2.FindResponse(results=[], peer=protocol.node_info)
        if behaviour == "stall":
            await asyncio.sleep(3600.0)
        for key in map(DHTID.from_bytes, request.keys):
            result = dht_pb2.FindResult(type=dht_pb2.NOT_FOUND)
            BEHAVIOURS[behaviour](self, key, result)
            response.results.append(result)
        return response

    def name_each_other(self, result: dht_pb2.FindResult) -> None:
        for node, peer in self._nodes.items():
            result.nearest_node_ids.append(node.to_bytes())
            result.nearest_peer_ids.append(peer)

    async def _tell(
        self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str
    ) -> None:
        await read_frame(reader, MAX_REQUEST)
        self._count("told")
        told = msgpack.packb([[a.encode() for a in self.crowd], []])
        await write_frame(writer, Status.OK, told)
        writer.close()

    async def _serve(
        self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str
    ) -> None:
        await read_frame(reader, MAX_REQUEST)
        self._count("wrong_bodies")
        await write_frame(writer, Status.OK, secrets.token_bytes(1000))
        writer.close()


def _nothing(liar: Liar, key: DHTID, result: dht_pb2.FindResult) -> None:
    """Knows no record and nobody."""


def _crowd(liar: Liar, key: DHTID, result: dht_pb2.FindResult) -> None:
    """Well signed announcements of names that serve nothing, wherever they are looked for; hostile nodes are near."""
    values = {peer_bytes(a.peer): (a.encode(), a.expires) for a in liar.crowd}
    _fill(result, values)
    liar.name_each_other(result)


def _forged(liar: Liar, key: DHTID, result: dht_pb2.FindResult) -> None:
    """Announcements that were altered, are stale or never were; nodes that there are not."""
    stale = {peer_bytes(a.peer): (a.encode(), time.time() - 60.0) for a in liar.crowd[:4]}
    altered = {peer_bytes(a.peer): (a.encode()[:-1] + b"\0", a.expires) for a in liar.crowd[4:]}
    junk = {secrets.token_bytes(n): (secrets.token_bytes(300), time.time() + 300.0) for n in range(1, 64)}
    _fill(result, stale | altered | junk)
    for _ in range(64):
        result.nearest_node_ids.append(DHTID.generate().to_bytes())
        result.nearest_peer_ids.append(secrets.token_bytes(38))


def _huge(liar: Liar, key: DHTID, result: dht_pb2.FindResult) -> None:
    result.type, result.value = dht_pb2.FOUND_REGULAR, bytes(_HUGE)
    result.expiration_time = float("inf")


# Name of each way to answer, in the order in which nodes take them up; "stall" never answers.
BEHAVIOURS: Mapping[str, Behave] = MappingProxyType(
    {"nothing": _nothing, "crowd": _crowd, "forged": _forged, "huge": _huge, "stall": _nothing}
)


def _fill(result: dht_pb2.FindResult, values: Mapping[bytes, tuple[bytes, float]]) -> None:
    dictionary = DictionaryDHTValue(maxsize=1)  # a reader that believes it would drop all others
    dictionary.maxsize = len(values)
    for subkey, (value, expires) in values.items():
        dictionary.store(subkey, GuardedProtocol.serializer.dumps(value), expires)
    result.type, result.value = dht_pb2.FOUND_DICTIONARY, GuardedProtocol.serializer.dumps(dictionary)
    result.expiration_time = time.time() + 600.0
