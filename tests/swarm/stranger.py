"""A py-libp2p host: `python stranger.py listen`, or `python stranger.py fetch ADDRESS SWARM DIGEST SIZE`.

`listen` prints where it listens, then PeerID and message of who speaks to it, whom it answers in capitals.
`fetch` asks the node at ADDRESS for a body and prints the SHA-256 of what it got.
"""

from __future__ import annotations

import hashlib
import secrets
import sys

import trio
from libp2p import new_host
from libp2p.abc import INetStream
from multiaddr import Multiaddr

from swarm.errors import FetchFailed
from swarm.exchange.framing import encode_request
from swarm.limits import FETCH_PROTOCOL, MAX_BODY
from swarm.observer.framing import framed, frames
from swarm.observer.host import Host
from swarm.wire.multiaddr import Address

PROTOCOL = "/murmur/test/1"
PATIENCE = 60.0  # seconds that a loaded machine may take


async def listen() -> None:
    host = new_host()

    async def answer(stream: INetStream) -> None:
        said = await stream.read(100)
        say(f"{stream.muxed_conn.peer_id} {said.decode()}")
        await stream.write(said.upper())
        await stream.close()

    host.set_stream_handler(PROTOCOL, answer)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        say(str(host.get_addrs()[0]))
        await trio.sleep_forever()


async def fetch(address: Address, swarm: str, digest: bytes, size: int) -> None:
    assert address.peer
    request = framed(encode_request(swarm, digest, b""))
    async with Host.open(secrets.token_bytes(32)) as host:
        deadline = trio.current_time() + PATIENCE
        while True:
            try:
                await host.connect(address.peer, [address.without_peer()])
                (status, body), _ = await host.ask(
                    address.peer, FETCH_PROTOCOL, request, frames(min(size, MAX_BODY), 64 * 1024)
                )
                break
            except FetchFailed:  # as nodes do: a busy machine may need longer than a node waits for a request
                if trio.current_time() > deadline:
                    raise
                await trio.sleep(0.2)
    say(f"{status} {hashlib.sha256(body).hexdigest()}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        trio.run(listen)
    else:
        _, _, place, name, wanted, length = sys.argv
        trio.run(fetch, Address.parse(place), name, bytes.fromhex(wanted), int(length))
