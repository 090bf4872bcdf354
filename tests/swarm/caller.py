"""hivemind's daemon as a caller: `python caller.py ADDRESS` speaks to a stranger there and prints its answer."""

from __future__ import annotations

import asyncio
import sys
import time

from hivemind.p2p import P2P, PeerID
from hivemind.utils.multiaddr import Multiaddr

from swarm.network.p2p_daemon import DAEMON_ERRORS
from swarm.wire.identity import peer_bytes
from swarm.wire.multiaddr import Address

PROTOCOL = "/murmur/test/1"
PATIENCE = 60.0  # seconds that a loaded machine may take


async def main(address: Address) -> None:
    assert address.peer
    p2p = await P2P.create(check_if_identity_free=False, startup_timeout=60)
    peer = PeerID(peer_bytes(address.peer))
    try:
        answer = await until_answered(p2p, peer, Multiaddr(str(address.without_peer())))
        sys.stdout.write(f"{p2p.peer_id} {answer.decode()}\n")
    finally:
        await p2p.shutdown()


async def until_answered(p2p: P2P, peer: PeerID, place: Multiaddr) -> bytes:
    """Each try has the libraries' own time limits, which a busy machine may pass."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            await p2p._client.connect(peer, [place])
            _, reader, writer = await p2p.call_binary_stream_handler(peer, PROTOCOL)
            writer.write(b"hello")
            answer: bytes = await reader.readexactly(5)
            writer.close()
            return answer
        except DAEMON_ERRORS:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main(Address.parse(sys.argv[1])))
