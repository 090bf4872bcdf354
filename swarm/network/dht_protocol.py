"""hivemind's DHT protocol with what it takes on trust checked: node ids, the size of a question, who stores what.

Its link to the daemon is here too, as one that lives on when a caller gave up before its answer came.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, ClassVar

import hivemind.dht.node
from hivemind.dht.protocol import DHTProtocol, ValidationError
from hivemind.dht.routing import DHTID
from hivemind.p2p import P2PContext, PeerID
from hivemind.p2p.p2p_daemon_bindings import p2pclient
from hivemind.p2p.p2p_daemon_bindings.control import ControlClient
from hivemind.proto import dht_pb2

from swarm.errors import DecodeError
from swarm.exchange.rate_limit import PeerBuckets
from swarm.network.dht_storage import STORER
from swarm.network.foreign_values import ForeignValues

MAX_KEYS = 16  # of one request; our readers ask for 4, and an answer to 20,000 took 1.7 s and 2.5 MB
# Keys that one caller may ask for at once, and those a second that come back: a full shard is 1 MB to send.
_KEYS_BURST, _KEYS_RATE = 512.0, 16.0
# Since the start of the process, by reason. One node lives in it.
refused: Counter[str] = Counter()
questions = PeerBuckets(_KEYS_RATE, _KEYS_BURST)


def node_id_of(peer: PeerID) -> DHTID:
    """The only DHT id that a peer may have: whoever could choose it would sit down beside any key."""
    return DHTID.generate(source=peer.to_bytes())


class GuardedProtocol(DHTProtocol):
    """Stands in for DHTProtocol once `install` was called. Refusals are counted in `refused`."""

    foreign_values: ForeignValues | None = None  # once it is set, who sends too many of them gets no answer
    ping_fault: ClassVar[Exception | None] = None  # why the last answer to a ping was not taken

    async def call_ping(self, peer: PeerID, validate: bool = False, strict: bool = True) -> DHTID | None:
        """As hivemind's, but an answer that does not hold is none: raised, it ended the join through all others too.

        So one peer of an invite with another time, or one that says it cannot reach this node, kept it out.
        """
        try:
            found: DHTID | None = await super().call_ping(peer, validate=validate, strict=strict)
        except (ValidationError, AssertionError, ValueError, TypeError) as error:  # of form, too
            refused["ping"] += 1
            GuardedProtocol.ping_fault = error
            return None
        return found

    async def update_routing_table(
        self, node_id: DHTID | None, peer_id: PeerID, responded: bool = True
    ) -> None:
        if node_id is not None and node_id != node_id_of(peer_id):
            refused["node_id"] += 1
            return
        await super().update_routing_table(node_id, peer_id, responded)

    async def rpc_ping(self, request: dht_pb2.PingRequest, context: P2PContext) -> dht_pb2.PingResponse:
        self._refuse_blocked(context)
        return await super().rpc_ping(request, context)

    async def rpc_store(self, request: dht_pb2.StoreRequest, context: P2PContext) -> dht_pb2.StoreResponse:
        self._refuse_blocked(context)
        _check_size(request.keys)
        del request.in_cache[:]
        request.in_cache.extend([False] * len(request.keys))  # a second store that nothing bounds
        STORER.set(str(context.remote_id))
        if self.foreign_values is None:
            return await super().rpc_store(request, context)
        with self.foreign_values.counting(self, context.remote_id, request.ByteSize()):
            return await super().rpc_store(request, context)

    async def rpc_find(self, request: dht_pb2.FindRequest, context: P2PContext) -> dht_pb2.FindResponse:
        self._refuse_blocked(context)
        _check_size(request.keys)
        if not questions.take(str(context.remote_id), float(len(request.keys))):
            refused["request_rate"] += 1
            raise DecodeError("too many keys asked for of late")
        return await super().rpc_find(request, context)

    def _refuse_blocked(self, context: P2PContext) -> None:
        if self.foreign_values:
            self.foreign_values.refuse_blocked(context.remote_id)

    async def call_find(self, peer: PeerID, keys: Any) -> Any:
        answer = await super().call_find(peer, keys)
        for key, (found, nearest) in (answer or {}).items():
            bound = {node: where for node, where in nearest.items() if node == node_id_of(where)}
            refused["node_id"] += len(nearest) - len(bound)
            answer[key] = found, bound
        return answer


# hivemind names its protocol on the wire after the class.
GuardedProtocol.__name__ = DHTProtocol.__name__


class GuardedControl(ControlClient):
    """Stands in for ControlClient once `install` was called: the link over which a DHT node calls others."""

    async def _read_from_persistent_conn(self, reader: asyncio.StreamReader) -> None:
        """As hivemind's, which ended without a word at an answer whose caller had given up in that very moment.

        No call was answered from then on. Peers that answer late, of which there are many among liars, make it likely.
        """
        while not reader.at_eof():
            try:
                await super()._read_from_persistent_conn(reader)
            except asyncio.InvalidStateError:  # set on a call that was cancelled; the message was read whole
                refused["late_answer"] += 1


def install() -> None:
    """Lets every DHT node that is made from now on in this process speak the guarded protocol. Idempotent."""
    hivemind.dht.node.DHTProtocol = GuardedProtocol
    p2pclient.ControlClient = GuardedControl


def _check_size(keys: Any) -> None:
    if len(keys) > MAX_KEYS:
        refused["request_size"] += 1
        raise DecodeError(f"a DHT request for {len(keys)} keys; at most {MAX_KEYS}")
