"""A hostile DHT node: `python mallory.py BOOTSTRAP MANIFEST VICTIM`, the last two in hex. Prints JSON.

Offers each node one honest record of its own and several that must be refused, and says who took what.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from dataclasses import replace
from typing import Any

from hivemind.dht.node import DHTNode
from hivemind.dht.routing import DHTID
from hivemind.p2p import P2P

from swarm.wire.announcement import Announcement, epoch_of, shard_key
from swarm.wire.identity import Identity, peer_bytes
from swarm.wire.manifest import Manifest
from swarm.wire.multiaddr import Address


def own(manifest: Manifest, mallory: Identity, victim: Announcement, **changes: Any) -> Announcement:
    now = time.time()
    epoch = epoch_of(now, manifest.epoch_seconds)
    place = {"peer": mallory.peer_id, "epoch": epoch, "created": now, "expires": now + 60.0}
    return replace(victim, **place | changes).sign(mallory)


def offers(manifest: Manifest, victim: Announcement) -> dict[str, tuple[str, bytes, float, Any]]:
    """Key, value, expiry and sub-key of each record."""
    mallory = Identity.ephemeral()
    honest = own(manifest, mallory, victim)
    foreign = own(Manifest("other", manifest.tasks), mallory, victim, swarm="0" * 32)
    forged = replace(victim, size=1, created=victim.created + 1, expires=victim.expires + 1)
    forged = replace(forged, signature=mallory.sign(b"murmur-announcement-2\0" + forged.encode()[64:]))
    greedy = own(manifest, mallory, victim, expires=time.time() + 5000.0)

    def place(a: Announcement, **changes: Any) -> tuple[str, bytes, float, Any]:
        values = {
            "key": shard_key(a.swarm, a.epoch, a.depth, a.shard),
            "value": a.encode(),
            "expires": a.expires,
            "subkey": peer_bytes(a.peer),
        }
        return tuple((values | changes).values())  # type: ignore[return-value]

    return {
        "honest": place(honest),
        "forged": place(forged),
        "foreign": place(foreign),
        "greedy": place(greedy),
        "prolonged": place(victim, expires=victim.expires + 300.0),
        "endless": place(victim, expires=math.nan),
        "under another name": place(victim, subkey=peer_bytes(mallory.peer_id)),
        "under another key": place(honest, key="junk"),
        "without a name": place(honest, subkey=None),
        "junk": place(honest, value=b"x" * 500_000),
    }


async def main(bootstrap: list[str], manifest: Manifest, victim: Announcement) -> None:
    p2p = await P2P.create(initial_peers=bootstrap, check_if_identity_free=False, startup_timeout=60)
    node = await DHTNode.create(p2p=p2p, initial_peers=bootstrap)
    nodes = [Address.parse(b).peer for b in bootstrap]
    peers = {str(p): p for p in node.protocol.routing_table.peer_id_to_uid if str(p) in nodes}
    taken: dict[str, dict[str, bool]] = {}
    for name, (key, value, expires, subkey) in offers(manifest, victim).items():
        packed = node.protocol.serializer.dumps(value)
        for peer, peer_id in peers.items():
            answer = await node.protocol.call_store(
                peer_id, [DHTID.generate(source=key)], [packed], expires, subkeys=[subkey]
            )
            taken.setdefault(name, {})[peer] = bool(answer and answer[0])
    await node.shutdown()
    await p2p.shutdown()
    sys.stdout.write(json.dumps(taken))


if __name__ == "__main__":
    _, addresses, rules, announcement = sys.argv
    asyncio.run(
        main(
            addresses.split(","),
            Manifest.decode(bytes.fromhex(rules)),
            Announcement.decode(bytes.fromhex(announcement)),
        )
    )
