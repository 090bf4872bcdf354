"""Streams over socket pairs to servers of rows, honest and hostile, for the tests of `swarm.rows`."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from announcing import MANIFEST

from swarm.errors import FetchFailed
from swarm.exchange.body_store import ServeLimits
from swarm.exchange.framing import Dial, Stream
from swarm.rows.pieces import PieceList
from swarm.rows.row_store import RowStore, SharedRows
from swarm.rows.rows_fetch import Wanted
from swarm.rows.rows_server import RowsServer
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address

OWNER, JOINER, MALLORY = (Identity(bytes([n]) * 32) for n in (1, 2, 3))
OWN = Membership.of(MANIFEST, b"", JOINER.peer_id)
# Some 640 kB that zstd halves at best: three pieces.
CONTENT = b"".join(b'{"a": "%s"}\n' % hashlib.sha256(b"%d" % n).hexdigest().encode() for n in range(8600))
PIECES = PieceList.of(CONTENT)

Serve = Callable[[Stream], Awaitable[None]]


def wanted(number: int = 1) -> Wanted:
    """Piece `number`, or the list for 0."""
    if number == 0:
        return Wanted(PIECES.root, 0, len(PIECES.encode()), PIECES.root)
    return Wanted(PIECES.root, number, PIECES.length(number - 1), PIECES.digests[number - 1])


def server(folder: Path, serve: ServeLimits | None = None, known: Sequence[str] = ()) -> RowsServer:
    path = RowStore(folder).put(CONTENT)
    membership = Membership.of(MANIFEST, b"", OWNER.peer_id)
    return RowsServer(membership, SharedRows((path,)), serve or ServeLimits(), lambda peer: peer in known)


def honest(served: RowsServer, peer: str = JOINER.peer_id, host: str = "203.0.113.1") -> Serve:
    return lambda stream: served.serve(peer, *stream, host)


def places(*peers: Identity) -> list[Address]:
    return [Address("ip4", f"203.0.113.{n}", 4001, peer=peer.peer_id) for n, peer in enumerate(peers, 1)]


async def pair() -> tuple[Stream, Stream]:
    left, right = socket.socketpair()
    return await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right)


def dialler(answering: Mapping[str, Serve]) -> Dial:
    """Opens streams to the peers that answer; others cannot be reached."""
    tasks: set[asyncio.Future[None]] = set()

    async def dial(peer: str, addresses: Sequence[str]) -> Stream:
        if peer not in answering:
            raise FetchFailed("cannot be reached")
        ours, theirs = await pair()
        task = asyncio.ensure_future(answering[peer](theirs))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return ours

    return dial
