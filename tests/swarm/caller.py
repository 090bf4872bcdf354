"""hivemind's daemon as a caller: `python caller.py ADDRESS` speaks to a stranger there and prints its answer."""

from __future__ import annotations

import asyncio
import sys

from hivemind.p2p import P2P, PeerID
from hivemind.utils.multiaddr import Multiaddr

from swarm.wire.identity import peer_bytes
from swarm.wire.multiaddr import Address

PROTOCOL = "/murmur/test/1"


async def main(address: Address) -> None:
    assert address.peer
    p2p = await P2P.create(check_if_identity_free=False, startup_timeout=60)
    peer = PeerID(peer_bytes(address.peer))
    try:
        await p2p._client.connect(peer, [Multiaddr(str(address.without_peer()))])
        _, reader, writer = await p2p.call_binary_stream_handler(peer, PROTOCOL)
        writer.write(b"hello")
        answer = await reader.readexactly(5)
        sys.stdout.write(f"{p2p.peer_id} {answer.decode()}\n")
        writer.close()
    finally:
        await p2p.shutdown()


if __name__ == "__main__":
    asyncio.run(main(Address.parse(sys.argv[1])))
