"""Golden vectors of the protocol: `python tests/golden_vectors.py` prints what tests/golden/protocol-2.json must hold.

Bytes in hex, made by the product's own code from fixed keys and values: both ends of every exchange are real and talk
over socket pairs, and what passes is written down. Bodies are given before compression, which has many right results.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

import zstandard
from announcing import NOW, SUMMARY, announce

from policies.rollout import Finish
from policies.tasks.task import TaskSpec
from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.errors import FetchFailed
from swarm.exchange.announcement_exchange import AnnouncementServer, ask_announcements
from swarm.exchange.autonat import DialBackServer, ask
from swarm.exchange.body_exchange import BodyExchange
from swarm.exchange.body_store import MirrorStore, ServeLimits
from swarm.exchange.framing import HEADER, Status, Stream, encode_request, read_frame, write_frame
from swarm.exchange.peer_stats import NodeStats, StatsServer
from swarm.exchange.push_mirror import MirrorServer, push
from swarm.exchange.rate_limit import PeerBuckets
from swarm.exchange.told_refusals import NO_REFUSALS
from swarm.network import ipc
from swarm.rows.pieces import PieceList
from swarm.rows.row_store import SharedRows
from swarm.rows.rows_fetch import Wanted, ask_piece
from swarm.rows.rows_server import RowsServer
from swarm.wire.announcement import Announcement, shard_key, shard_of
from swarm.wire.body import Body, SharedGroup, SharedRollout
from swarm.wire.body_codec import encode_body
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest
from swarm.wire.membership import Membership, member_key
from swarm.wire.multiaddr import Address

Serve = Callable[[Stream], Awaitable[None]]
Call = Callable[[Stream], Awaitable[object]]

ALICE, BOB = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))
SECRET = bytes(range(64, 96))
OPEN = Manifest("flock", (TaskSpec("sort"),))
SHARDED = Manifest(
    "flock", (TaskSpec("sort"), TaskSpec("rg:chain_sum", {"max_terms": 4, "easy": True})), 30.0, 4
)
PRIVATE = Manifest("flock", (TaskSpec("sort"),), member_key=member_key(SECRET))
CONTENT = b"golden body"
DIGEST = hashlib.sha256(CONTENT).digest()
ROWS_FILE = Path(__file__).parent / "golden" / "rows.jsonl"
ROWS = PieceList.of(ROWS_FILE.read_bytes())
STATS = NodeStats("0.1.0", 12.5, 3, 7, "smollm2-135m", 4, (("announced", 2), ("refused_swarm", 1)))
HOME = Address("ip4", "127.0.0.1", 4001)
REFUSED = {"encoding": 3, "length": 1}


def build() -> dict[str, str]:
    """Every vector by its name."""
    return {**_wire(), **asyncio.run(_streams()), **_ipc()}


def announcement(**changes: object) -> Announcement:
    values = {"swarm": OPEN.swarm_id, "depth": 0, "shard": 0, "digest": DIGEST, "size": len(CONTENT)}
    return announce(ALICE, **{**values, **changes})


def private_announcement() -> Announcement:
    mirror = f"/ip4/203.0.113.9/tcp/4001/p2p/{BOB.peer_id}"
    token = Membership.of(PRIVATE, SECRET, ALICE.peer_id).token
    return announcement(swarm=PRIVATE.swarm_id, addresses=(mirror,), token=token, extensions=((7, b"later"),))


def body() -> Body:
    text = SharedRollout("1 2 3", Finish.STOP, 1.0), SharedRollout("3 2", Finish.LENGTH, 0.25)
    image = SharedRollout("", Finish.STOP, 0.5, b"\x01\x02"), SharedRollout("", Finish.STOP, 0.75, b"\x03")
    groups = SharedGroup("sort@1", 7, text), SharedGroup("digits@1", 8, image)
    return Body(OPEN.swarm_id, ALICE.peer_id, "smollm2-135m", 7, 3, groups)


def _wire() -> dict[str, str]:
    address = f"/ip4/203.0.113.7/tcp/4001/p2p/{ALICE.peer_id}"
    return {
        "peer id": ALICE.peer_id,
        "manifest": SHARDED.encode().hex(),
        "swarm id, open": OPEN.swarm_id,
        "swarm id, sharded": SHARDED.swarm_id,
        "swarm id, private": PRIVATE.swarm_id,
        "membership token": Membership.of(PRIVATE, SECRET, ALICE.peer_id).token.hex(),
        "invite": Invite(SHARDED, (address,)).encode(),
        "invite, private": Invite(PRIVATE, (address,), SECRET).encode(),
        "root of rows": ROWS.root.hex(),
        "shard": str(shard_of(ALICE.peer_id, 30_000_000, 4)),
        "shard key": shard_key(SHARDED.swarm_id, 30_000_000, 4, 9),
        "announcement": announcement().encode().hex(),
        "announcement, private": private_announcement().encode().hex(),
        "body, unpacked": zstandard.decompress(encode_body(body())).hex(),
    }


class Recording:
    """The bytes of each exchange by its name, as hex."""

    def __init__(self) -> None:
        self.vectors: dict[str, str] = {}

    async def record(self, name: str, call: Call, serve: Serve) -> None:
        asked, answered = await _overheard(call, serve)
        self.vectors[f"{name} request"], self.vectors[f"{name} answer"] = asked.hex(), answered.hex()


async def _streams() -> dict[str, str]:
    own = Membership.of(OPEN, b"", BOB.peer_id)
    recording = Recording()
    record = recording.record

    def exchange(stored: bytes = b"", limits: ServeLimits | None = None) -> BodyExchange:
        keeper = AnnouncementFilter(OPEN, clock=lambda: NOW)
        served = BodyExchange(own, limits or ServeLimits(), AnnouncementStore(keeper, BOB.peer_id))
        served.bodies.put_own(hashlib.sha256(stored).digest(), stored)
        return served

    def fetching(stream: Stream, refused: Mapping[str, int] = NO_REFUSALS) -> Awaitable[object]:
        async def dial(peer: str, addresses: Sequence[str]) -> Stream:
            return stream

        return exchange().fetch(announcement(), dial, refused)

    def serving(served: BodyExchange) -> Serve:
        return lambda stream: served.serve(BOB.peer_id, *stream)

    full = exchange(CONTENT)
    full.offer = announcement()
    full._referrals.note(BOB.peer_id, DIGEST)
    exhausted = exchange(CONTENT)
    exhausted._budgets._peers = PeerBuckets(0.0, 0.0)
    await record("fetch", fetching, serving(full))
    await record("fetch, refusals:", lambda stream: fetching(stream, REFUSED), serving(full))
    del recording.vectors["fetch, refusals: answer"]  # as without
    await record("fetch, not found:", fetching, serving(exchange()))
    await record("fetch, busy:", fetching, serving(exhausted))
    await record("fetch, other version:", _old_request, serving(full))

    def mirror(room: int) -> Serve:
        return lambda stream: MirrorServer(own, MirrorStore(room)).serve(BOB.peer_id, *stream)

    await record("push", lambda stream: push(stream, own, CONTENT), mirror(100))
    await record("push, no room:", lambda stream: push(stream, own, CONTENT), mirror(1))
    reach = DialBackServer(own)
    await record(
        "reach", lambda stream: ask(stream, own, [1]), lambda stream: reach.serve(BOB.peer_id, HOME, *stream)
    )
    store = AnnouncementStore(AnnouncementFilter(OPEN, clock=lambda: NOW), BOB.peer_id)
    telling = AnnouncementServer(own, store, announcement)
    await record(
        "announcements",
        lambda stream: ask_announcements(stream, own, NOW - 60.0),
        lambda stream: telling.serve(BOB.peer_id, *stream),
    )
    await _rows(own, recording)
    stats = StatsServer(OPEN.swarm_id, lambda: STATS)
    await record("stats", _ask_stats, lambda stream: stats.serve(BOB.peer_id, *stream))
    return recording.vectors


async def _rows(own: Membership, recording: Recording) -> None:
    rows = SharedRows()
    rows._files[ROWS.root] = ROWS_FILE, ROWS
    serving_rows = RowsServer(own, rows, ServeLimits())

    def asking_rows(piece: Wanted) -> Call:
        return lambda stream: ask_piece(stream, own, piece)

    def telling_rows(stream: Stream) -> Awaitable[None]:
        return serving_rows.serve(BOB.peer_id, *stream)

    listed = Wanted(ROWS.root, 0, len(ROWS.encode()), ROWS.root)
    await recording.record("rows, list:", asking_rows(listed), telling_rows)
    await recording.record(
        "rows, piece:", asking_rows(Wanted(ROWS.root, 1, ROWS.size, ROWS.digests[0])), telling_rows
    )
    for name in ("rows, list: answer", "rows, piece: answer"):  # packing has many right results
        packed = bytes.fromhex(recording.vectors.pop(name))[HEADER.size :]
        recording.vectors[f"{name}, unpacked"] = zstandard.decompress(packed).hex()
    await recording.record("rows, not found:", asking_rows(Wanted(bytes(32), 1, 1, bytes(32))), telling_rows)


async def _ask_stats(stream: Stream) -> None:
    await write_frame(stream[1], Status.OK, encode_request(OPEN.swarm_id, b""))
    await read_frame(stream[0], 2**14)


async def _old_request(stream: Stream) -> None:
    await write_frame(stream[1], Status.OK, bytes.fromhex("9401a0c400c400"))
    await stream[0].read()


async def _overheard(call: Call, serve: Serve) -> tuple[bytes, bytes]:
    """What the two ends say to each other."""
    (ours, near), (far, theirs) = await _pair(), await _pair()
    asked, answered = bytearray(), bytearray()
    tasks = [
        asyncio.create_task(_pump(near[0], far[1], asked)),
        asyncio.create_task(_pump(far[0], near[1], answered)),
        asyncio.create_task(serve(theirs)),
    ]
    with suppress(FetchFailed):
        await call(ours)
    ours[1].close()
    await asyncio.gather(*tasks)
    return bytes(asked), bytes(answered)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, heard: bytearray) -> None:
    while part := await source.read(2**16):
        heard += part
        target.write(part)
        await target.drain()
    target.close()


async def _pair() -> tuple[Stream, Stream]:
    left, right = socket.socketpair()
    return await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right)


def _ipc() -> dict[str, str]:
    settings = ipc.DhtSettings(OPEN, listen=("/ip4/127.0.0.1/tcp/4001",))
    raw = announcement().encode()
    state = {
        "healthy": True,
        "detail": "",
        "addresses": [],
        "reach": "unknown",
        "peers_seen": 0,
        "counters": {},
    }
    frames = {
        "first message": [settings.to_wire(), "/run/key", (CONTENT, astuple(SUMMARY))],
        "publish": [1, "publish", [CONTENT, astuple(SUMMARY)]],
        "announcements": [2, "announcements", [24, [raw], [BOB.peer_id]]],
        "fetch": [3, "fetch", [raw]],
        "rows": [3, "rows", [ROWS.root, 1, ROWS.size, ROWS.digests[0]]],
        "answer": [3, None, CONTENT],
        "error": [3, "fetch", "cannot be reached"],
        "state": [ipc.STATE, None, state],
    }
    return {f"ipc {name}": ipc.pack(message).hex() for name, message in frames.items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(build(), indent=1) + "\n")
