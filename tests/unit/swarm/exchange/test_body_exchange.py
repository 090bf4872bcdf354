"""The body exchange between the two ends of a socket pair, and the pieces under it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import msgpack
import pytest
from announcing import MANIFEST, NOW, announce

from swarm import limits
from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.errors import DecodeError, FetchFailed
from swarm.exchange.body_exchange import BodyExchange
from swarm.exchange.body_store import BodyStore, ServeLimits
from swarm.exchange.framing import Status, Stream, encode_request, read_frame, write_frame
from swarm.exchange.rate_limit import PeerBuckets, TokenBucket
from swarm.wire.announcement import Announcement
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership

ALICE, BOB, CAROL = (Identity.ephemeral() for _ in range(3))
BODY = random.Random(1).randbytes(300_000)
DIGEST = hashlib.sha256(BODY).digest()
SWARM = MANIFEST.swarm_id
Dial = Callable[[str, Sequence[str]], Awaitable[Stream]]


class Peer:
    """An exchange with a directory of its own."""

    def __init__(self, identity: Identity, serve: ServeLimits | None = None) -> None:
        self.name = identity.peer_id
        self.identity = identity
        self.directory = AnnouncementStore(AnnouncementFilter(MANIFEST, clock=lambda: NOW + 1.0), self.name)
        self.exchange = BodyExchange(
            Membership.of(MANIFEST, b"", self.name), serve or ServeLimits(), self.directory
        )

    def offer(self, body: bytes) -> Announcement:
        digest = hashlib.sha256(body).digest()
        self.exchange.bodies.put_own(digest, body)
        self.exchange.offer = announce(self.identity, digest=digest, size=len(body))
        return self.exchange.offer


async def pair() -> tuple[Stream, Stream]:
    left, right = socket.socketpair()
    return await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right)


def town(caller: Peer, *peers: Peer) -> tuple[Dial, list[tuple[str, tuple[str, ...]]]]:
    """What `caller` dials with, connected to `peers` alone, and a list of whom it dialled where."""
    homes = {p.name: p for p in peers}
    dialled: list[tuple[str, tuple[str, ...]]] = []
    serving: set[asyncio.Task[None]] = set()

    async def dial(peer: str, addresses: Sequence[str]) -> Stream:
        dialled.append((peer, tuple(addresses)))
        if peer not in homes:
            raise FetchFailed("cannot be reached")
        ours, theirs = await pair()
        serving.add(asyncio.create_task(homes[peer].exchange.serve(caller.name, *theirs)))
        return ours

    return dial, dialled


def frame(status: int, payload: bytes) -> bytes:
    return bytes([status]) + len(payload).to_bytes(4, "big") + payload


def script(*frames: bytes) -> Dial:
    """A peer that answers with `frames`, whatever it is asked, and hangs up."""
    kept = []  # an open stream that is collected is reset

    async def dial(peer: str, addresses: Sequence[str]) -> Stream:
        ours, theirs = await pair()
        kept.append(theirs)
        theirs[1].write(b"".join(frames))
        theirs[1].write_eof()
        return ours

    return dial


async def ask(server: Peer, caller: str, request: bytes) -> bytes:
    """The whole raw answer to a raw request."""
    (reader, writer), theirs = await pair()
    serving = asyncio.create_task(server.exchange.serve(caller, *theirs))
    writer.write(request)
    writer.write_eof()
    try:
        answer = await reader.read()
    except ConnectionResetError:  # closed before it read the request
        answer = b""
    writer.close()
    await serving
    return answer


async def get(alice: Peer, bob: Peer, wanted: Announcement) -> bytes:
    dial, _ = town(bob, alice)
    return await bob.exchange.fetch(wanted, dial)


def test_a_body_arrives_with_news_of_others() -> None:
    alice, bob = Peer(ALICE), Peer(BOB)
    wanted = alice.offer(BODY)
    alice.directory.add([announce(CAROL).encode()])
    assert asyncio.run(get(alice, bob, wanted)) == BODY
    assert {a.peer for a in bob.directory.live()} == {ALICE.peer_id, CAROL.peer_id}
    assert bob.exchange.counters == {"fetched": 1, "fetched_bytes": len(BODY)}
    assert alice.exchange.counters == {"served": 1, "served_bytes": len(BODY)}


def test_a_held_body_is_not_fetched_again() -> None:
    alice, bob = Peer(ALICE), Peer(BOB)
    wanted = alice.offer(BODY)

    async def twice() -> list[tuple[str, tuple[str, ...]]]:
        dial, dialled = town(bob, alice)
        assert await bob.exchange.fetch(wanted, dial) == await bob.exchange.fetch(wanted, dial)
        return dialled

    assert asyncio.run(twice()) == [(ALICE.peer_id, wanted.addresses)]


def test_a_busy_publisher_refers_to_those_that_fetched_before() -> None:
    alice, bob, carol = Peer(ALICE), Peer(BOB), Peer(CAROL)
    wanted = alice.offer(BODY)

    async def scenario() -> list[str]:
        await get(alice, bob, wanted)
        dial, dialled = town(carol, alice, bob)
        with ExitStack() as full:
            for number in range(ServeLimits().slots):
                full.enter_context(alice.exchange._slots.answering(f"peer{number}", f"host{number}"))
            assert await carol.exchange.fetch(wanted, dial) == BODY
        return [peer for peer, _ in dialled]

    assert asyncio.run(scenario()) == [ALICE.peer_id, BOB.peer_id]
    assert bob.exchange.counters["served"] == 1


def test_a_publisher_that_is_gone_or_lost_the_body_fails_with_the_reason() -> None:
    alice, bob = Peer(ALICE), Peer(BOB)
    wanted = announce(ALICE, digest=DIGEST, size=len(BODY))
    with pytest.raises(FetchFailed, match="cannot be reached"):
        asyncio.run(bob.exchange.fetch(wanted, town_without_anyone()))
    with pytest.raises(FetchFailed, match="not_found"):
        asyncio.run(get(alice, bob, wanted))
    assert bob.exchange.counters == {"fetch_failed": 2}


def town_without_anyone() -> Dial:
    async def dial(peer: str, addresses: Sequence[str]) -> Stream:
        raise FetchFailed("cannot be reached")

    return dial


NEWS: bytes = msgpack.packb([[], [], []])


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ((frame(0, BODY[:-1] + b"\0"), frame(0, NEWS)), "wrong body"),
        ((frame(0, BODY[:-1]), frame(0, NEWS)), "wrong body"),
        ((frame(0, BODY + b"\0"), frame(0, NEWS)), "frame of"),
        ((b"\0\xff\xff\xff\xff",), "frame of 4294967295"),
        ((frame(9, b""), frame(0, NEWS)), "status"),
        ((frame(0, BODY)[:1000],), "bytes read"),
        ((frame(0, BODY), frame(0, b"\xc1")), "msgpack"),
        ((frame(0, BODY), frame(0, msgpack.packb([[b"x"] * 5, [], []]))), "referrals"),
        ((frame(0, BODY), frame(0, msgpack.packb([[], [b""] * 9, []]))), "announcements"),
    ],
)
def test_whatever_a_publisher_answers_becomes_one_failed_fetch(frames: tuple[bytes, ...], why: str) -> None:
    bob = Peer(BOB)
    with pytest.raises(FetchFailed, match=why):
        asyncio.run(bob.exchange.fetch(announce(ALICE, digest=DIGEST, size=len(BODY)), script(*frames)))
    assert bob.exchange.bodies.get(DIGEST) is None


def test_forged_news_is_counted_and_dropped() -> None:
    bob = Peer(BOB)
    forged = replace(announce(CAROL), signature=bytes(64)).encode()
    news = msgpack.packb([[], [forged, b"junk", 7, announce(ALICE).encode()], []])
    wanted = announce(ALICE, digest=DIGEST, size=len(BODY))
    fetched = asyncio.run(bob.exchange.fetch(wanted, script(frame(0, BODY), frame(0, news))))
    assert fetched == BODY
    assert [a.peer for a in bob.directory.live()] == [ALICE.peer_id]
    assert bob.directory._filter.refused == {"signature": 1, "malformed": 1}


def test_referrals_are_followed_a_bounded_number_of_times() -> None:
    bob = Peer(BOB)
    asked: list[str] = []

    async def dial(peer: str, addresses: Sequence[str]) -> Stream:
        asked.append(peer)
        others = [Identity.ephemeral() for _ in range(4)]
        raw = [b"\x00\x24\x08\x01\x12\x20" + o.public_key for o in others]
        return await script(frame(2, b""), frame(0, msgpack.packb([raw, [], []])))(peer, addresses)

    with pytest.raises(FetchFailed, match="busy"):
        asyncio.run(bob.exchange.fetch(announce(ALICE), dial))
    assert len(asked) == len(set(asked)) == 5


@pytest.mark.parametrize(
    "request_frame",
    [
        b"",
        frame(0, b"")[:3],
        b"\0\xff\xff\xff\xff",
        frame(0, b"\xc1"),
        frame(0, encode_request(SWARM, b"short", b"")),
        frame(0, encode_request("another swarm", DIGEST, b"")),
        frame(0, msgpack.packb({"version": 1})),
        frame(0, bytes(limits.MAX_REQUEST + 1)),
    ],
)
def test_bad_requests_get_nothing_and_harm_nothing(request_frame: bytes) -> None:
    alice = Peer(ALICE)
    alice.offer(BODY)
    assert asyncio.run(ask(alice, BOB.peer_id, request_frame)) == b""
    assert alice.exchange.counters == {"serve_failed": 1}
    good = frame(0, encode_request(SWARM, DIGEST, b""))
    assert asyncio.run(ask(alice, BOB.peer_id, good)).startswith(frame(0, BODY))


def test_a_peer_over_its_budget_gets_no_body_and_no_news_while_others_are_served() -> None:
    alice = Peer(ALICE, ServeLimits(peer_rate=0.0))
    body = random.Random(2).randbytes(3 * 2**20)
    alice.offer(body)
    good = frame(0, encode_request(SWARM, hashlib.sha256(body).digest(), b""))

    async def scenario() -> list[bytes]:
        return [await ask(alice, peer, good) for peer in (BOB.peer_id,) * 3 + (CAROL.peer_id,)]

    first, second, third, other = asyncio.run(scenario())
    # A burst of twice the largest body holds two of these.
    assert all(answer.startswith(frame(0, body)) for answer in (first, second, other))
    assert third == frame(Status.BUSY, b"") + frame(0, NEWS)


def test_frames_survive_the_stream() -> None:
    async def scenario() -> tuple[Status, bytes]:
        (_, writer), (reader, other) = await pair()
        await write_frame(writer, Status.NOT_FOUND, b"abc")
        writer.close()
        answer = await read_frame(reader, 3)
        other.close()
        return answer

    assert asyncio.run(scenario()) == (Status.NOT_FOUND, b"abc")


def test_a_frame_over_its_bound_is_refused_before_it_is_read() -> None:
    async def scenario() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"\0\0\0\0\x04")
        await read_frame(reader, 3)

    with pytest.raises(DecodeError, match="at most 3"):
        asyncio.run(scenario())


def test_the_store_drops_copies_before_own_bodies_and_the_longest_unused_first() -> None:
    store = BodyStore(capacity=10)
    store.put_own(b"own", b"xxxx")
    store.put_copy(b"a", b"aaa")
    store.put_copy(b"b", b"bbb")
    assert store.get(b"a") == b"aaa"
    store.put_copy(b"c", b"ccc")
    assert [store.get(d) for d in (b"own", b"a", b"b", b"c")] == [b"xxxx", b"aaa", None, b"ccc"]
    store.put_own(b"new", b"yyyyyyyyyy")
    assert [store.get(d) for d in (b"own", b"a", b"c", b"new")] == [None, None, None, b"yyyyyyyyyy"]
    store.put_own(b"new", b"zz")
    store.put_own(b"more", b"wwwwwwww")
    assert [store.get(d) for d in (b"new", b"more")] == [b"zz", b"wwwwwwww"]


def test_buckets_refill_with_time_and_forget_the_oldest_peer() -> None:
    now = [0.0]
    bucket = TokenBucket(rate=10.0, burst=20.0, clock=lambda: now[0])
    assert [bucket.take(15.0), bucket.take(15.0)] == [True, False]
    now[0] = 1.0
    assert [bucket.take(15.0), bucket.take(0.1)] == [True, False]
    now[0] = 100.0
    assert [bucket.take(21.0), bucket.take(20.0)] == [False, True]

    buckets = PeerBuckets(rate=0.0, burst=1.0)
    assert [buckets.take("mallory", 1.0), buckets.take("mallory", 1.0)] == [True, False]
    for index in range(5000):
        buckets.take(f"sybil{index}", 1.0)
    assert len(buckets._buckets) == 4096


def test_the_directory_keeps_the_newest_live_announcement_of_every_other_peer() -> None:
    now = [NOW + 1.0]
    directory = AnnouncementStore(AnnouncementFilter(MANIFEST, clock=lambda: now[0]), BOB.peer_id)
    old, new = announce(ALICE), announce(ALICE, created=NOW + 2.0, size=5)
    directory.add([new.encode(), old.encode(), announce(BOB).encode(), announce(CAROL).encode()])
    assert directory.live() == [new, directory.find(CAROL.peer_id)]
    assert {a.peer for a in directory.draw(8)} == {ALICE.peer_id, CAROL.peer_id}
    now[0] = NOW + 601.0
    assert directory.live() == []
    directory.add([old.encode()])
    assert directory.find(ALICE.peer_id) is None
