"""A DHT node of another make: `python odd_node.py clock SECONDS`, or `python odd_node.py foreign BOOTSTRAP VALUES`.

`clock` founds a DHT in which its clock is SECONDS ahead, and prints where it listens. `foreign` joins a DHT and stores
so many values of 100 kB, then prints how many were answered and whom it still knows. Both run until stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time

from hivemind.dht import protocol
from hivemind.dht.node import DHTNode
from hivemind.dht.routing import DHTID
from hivemind.p2p import P2P


async def found(offset: float) -> None:
    protocol.get_dht_time = lambda: time.time() + offset
    p2p = await P2P.create(
        startup_timeout=60, host_maddrs=["/ip4/127.0.0.1/tcp/0"], force_reachability="public"
    )
    await DHTNode.create(p2p=p2p)
    say([str(a) for a in await p2p.get_visible_maddrs()])
    await asyncio.to_thread(sys.stdin.read)


async def intrude(bootstrap: str, values: int) -> None:
    p2p = await P2P.create(
        initial_peers=[bootstrap],
        startup_timeout=60,
        host_maddrs=["/ip4/127.0.0.1/tcp/0"],
        check_if_identity_free=False,
    )
    node = await DHTNode.create(p2p=p2p, initial_peers=[bootstrap])
    [target] = [
        p for p in node.protocol.routing_table.peer_id_to_uid if str(p) == bootstrap.rsplit("/", 1)[1]
    ]
    answered = 0
    for _ in range(values):
        key, value = (
            DHTID.generate(source=secrets.token_hex(8)),
            node.protocol.serializer.dumps(bytes(100_000)),
        )
        answered += await node.protocol.call_store(target, [key], [value], time.time() + 300.0) is not None
    say([answered, target in node.protocol.routing_table.peer_id_to_uid])
    await asyncio.to_thread(sys.stdin.read)


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "clock":
        asyncio.run(found(float(sys.argv[2])))
    else:
        asyncio.run(intrude(sys.argv[2], int(sys.argv[3])))
