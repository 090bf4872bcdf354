"""Hostile parts of a DHT node: ground keys, answers that are lies, records stored without asking where they belong.

Imports hivemind; loaded in the hostile process only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hivemind.dht.routing import DHTID
from hivemind.proto import dht_pb2

from swarm.network.dht_protocol import GuardedProtocol
from swarm.network.p2p_daemon import DAEMON_ERRORS, Daemon
from swarm.wire.announcement import Announcement, shard_key
from swarm.wire.identity import Identity, peer_bytes


def ground_identities(key: str, tried: int, kept: int) -> list[Identity]:
    """Of so many fresh keys those whose DHT ids are nearest to `key`'s: ids follow from keys, and keys are cheap."""
    target = DHTID.generate(source=key)
    fresh = [Identity.ephemeral() for _ in range(tried)]
    return sorted(fresh, key=lambda i: DHTID.generate(source=peer_bytes(i.peer_id)) ^ target)[:kept]


def install_lies() -> None:
    """From now on DHT nodes of this process take every record, keep none, and know nobody."""
    GuardedProtocol.rpc_store = _swallow  # type: ignore[method-assign]
    GuardedProtocol.rpc_find = _deny  # type: ignore[method-assign]


async def store_everywhere(daemon: Daemon, records: Sequence[Announcement]) -> int:
    """Asks every node that the daemon knows to keep `records`; returns how many were taken, by all together."""
    protocol = daemon._node.protocol
    keys = [DHTID.generate(source=shard_key(a.swarm, a.epoch, a.depth, a.shard)) for a in records]
    values = [protocol.serializer.dumps(a.encode()) for a in records]
    taken = 0
    for peer in list(protocol.routing_table.peer_id_to_uid):
        try:
            answer = await protocol.call_store(
                peer, keys, values, [a.expires for a in records], [peer_bytes(a.peer) for a in records]
            )
        except DAEMON_ERRORS:
            continue
        taken += sum(answer or ())
    return taken


async def _swallow(self: Any, request: dht_pb2.StoreRequest, context: Any) -> dht_pb2.StoreResponse:
    return dht_pb2.StoreResponse(store_ok=[True] * len(request.keys), peer=self.node_info)


async def _deny(self: Any, request: dht_pb2.FindRequest, context: Any) -> dht_pb2.FindResponse:
    nothing = [dht_pb2.FindResult(type=dht_pb2.NOT_FOUND) for _ in request.keys]
    return dht_pb2.FindResponse(results=nothing, peer=self.node_info)
