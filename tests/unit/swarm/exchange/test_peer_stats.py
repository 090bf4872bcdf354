"""A node's figures: their form and bounds, and the server that hands them out over a stream."""

from __future__ import annotations

import asyncio
import math
import random
import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from announcing import MANIFEST, SUMMARY

from swarm import limits
from swarm.errors import DecodeError
from swarm.exchange.framing import Status, Stream, encode_request, read_frame, write_frame
from swarm.exchange.peer_stats import NodeStats, StatsServer
from swarm.wire import fields
from swarm.wire.identity import Identity

SWARM = MANIFEST.swarm_id
ALICE, BOB = (Identity.ephemeral().peer_id for _ in range(2))
STATS = NodeStats("0.1.0", 12.5, 3, 7, "smollm2-135m", 4, (("announced", 2), ("refused_swarm", 1)))
VALUES: list[Any] = [2, "0.1.0", 12.5, 3, 7, "smollm2-135m", 4, [["announced", 2], ["refused_swarm", 1]], []]


def test_figures_survive_the_wire() -> None:
    assert NodeStats.decode(STATS.encode()) == STATS
    assert msgpack.unpackb(STATS.encode()) == VALUES


def test_own_figures_name_the_newest_body_and_keep_within_bounds() -> None:
    counters = {f"c{n:03}": n for n in range(limits.MAX_COUNTERS + 5)}
    stats = NodeStats.of(-1.0, SUMMARY, 4, counters)
    assert (stats.round, stats.policy_version, stats.fingerprint) == (3, 7, "smollm2-135m")
    assert stats.uptime == 0.0 and len(stats.counters) == limits.MAX_COUNTERS
    assert NodeStats.decode(stats.encode()) == stats
    young = NodeStats.of(1e30, None, 0, {})
    assert (young.round, young.fingerprint, young.counters) == (0, "", ())
    assert NodeStats.decode(young.encode()) == young


def test_the_largest_figures_fit_one_answer() -> None:
    longest = tuple((f"{n:0{limits.MAX_COUNTER_NAME}}", fields.MAX_COUNT) for n in range(limits.MAX_COUNTERS))
    stats = replace(STATS, version="v" * limits.MAX_VERSION, fingerprint="f" * limits.MAX_FINGERPRINT)
    assert len(replace(stats, counters=longest).encode()) <= limits.MAX_STATS


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (0, 1, "speaks protocol 1, this node 2"),
        (1, "v" * (limits.MAX_VERSION + 1), "program version"),
        (1, "\x1b[2J", "program version"),
        (1, b"0.1.0", "program version"),
        (2, math.nan, "uptime"),
        (2, math.inf, "uptime"),
        (2, -1.0, "uptime"),
        (2, 12, "uptime"),
        (3, -1, "round"),
        (3, True, "round"),
        (4, fields.MAX_COUNT + 1, "policy version"),
        (5, "f" * (limits.MAX_FINGERPRINT + 1), "fingerprint"),
        (6, 1.0, "peers seen"),
        (7, [["a", 1]] * 2, "out of order"),
        (7, [["b", 1], ["a", 1]], "out of order"),
        (7, [["a", -1]], "count"),
        (7, [["a", 1.5]], "count"),
        (7, [["a"]], "counter"),
        (7, [["n" * (limits.MAX_COUNTER_NAME + 1), 1]], "name of a counter"),
        (7, [["\u202e", 1]], "name of a counter"),
        (7, {"a": 1}, "msgpack"),
        (7, [[str(n), 1] for n in range(limits.MAX_COUNTERS + 1)], "msgpack"),
        (7, None, "counters"),
    ],
)
def test_figures_out_of_bounds_are_refused(place: int, value: Any, named: str) -> None:
    values = [*VALUES[:place], value, *VALUES[place + 1 :]]
    with pytest.raises(DecodeError, match=named):
        NodeStats.decode(msgpack.packb(values))


def test_hostile_bytes_are_refused() -> None:
    generator = random.Random(1)
    whole = STATS.encode()
    hostile = [
        b"",
        b"\xc1",
        whole[:-1],
        whole + b"\0",
        b"\x91" * 8000,
        b"\xdd\xff\xff\xff\xff",
        msgpack.packb([]),
    ]
    hostile += [generator.randbytes(generator.randrange(1, 200)) for _ in range(500)]
    hostile.append(msgpack.packb([*VALUES[:-2], [["a" * 2 * limits.MAX_STATS, 1]], []]))
    for raw in hostile:
        with pytest.raises(DecodeError):
            NodeStats.decode(raw)


def test_own_figures_that_others_would_refuse_are_not_sent() -> None:
    with pytest.raises(DecodeError, match="fingerprint"):
        replace(STATS, fingerprint="\n").encode()


@pytest.mark.parametrize(
    "request_bytes",
    [
        encode_request("0" * 32, b""),
        encode_request(SWARM, b"", b""),
        encode_request(SWARM),
        encode_request(SWARM, None),
        msgpack.packb([[2], SWARM, b"", []]),
        msgpack.packb([2, SWARM, b""]),
        b"",
    ],
)
def test_requests_that_are_none_get_no_answer(request_bytes: bytes) -> None:
    server = StatsServer(SWARM, lambda: STATS)
    with pytest.raises(asyncio.IncompleteReadError):
        asyncio.run(ask(server, BOB, request_bytes))
    assert server.counters == {"stats_failed": 1}


async def pair() -> tuple[Stream, Stream]:
    left, right = socket.socketpair()
    return await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right)


async def ask(server: StatsServer, peer: str, request: bytes) -> tuple[Status, bytes]:
    (reader, writer), theirs = await pair()
    serving = asyncio.create_task(server.serve(peer, *theirs))
    await write_frame(writer, Status.OK, request)
    try:
        return await read_frame(reader, limits.MAX_STATS)
    finally:
        writer.close()
        await serving


def test_the_server_answers_with_the_figures_of_now() -> None:
    server = StatsServer(SWARM, lambda: replace(STATS, peers_seen=server.counters["stats_served"]))
    for served in range(3):
        status, raw = asyncio.run(ask(server, BOB, encode_request(SWARM, b"")))
        assert status is Status.OK
        assert NodeStats.decode(raw) == replace(STATS, peers_seen=served)


def test_only_those_whom_the_swarm_admits_get_an_answer() -> None:
    server = StatsServer(SWARM, lambda: STATS, lambda peer, token: (peer, token) == (BOB, b"b" * 64))
    assert asyncio.run(ask(server, BOB, encode_request(SWARM, b"b" * 64)))[0] is Status.OK
    for peer, request in (
        (ALICE, encode_request(SWARM, b"b" * 64)),
        (BOB, encode_request(SWARM, b"")),
        (BOB, encode_request("0" * 32, b"b" * 64)),
        (BOB, b"junk"),
        (BOB, bytes(limits.MAX_REQUEST + 1)),
    ):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            asyncio.run(ask(server, peer, request))
    assert server.counters == {"stats_served": 1, "stats_failed": 5}


def test_over_its_slots_a_peer_is_told_that_the_node_is_busy() -> None:
    async def scenario() -> list[Status]:
        server = StatsServer(SWARM, lambda: STATS)
        with ExitStack() as held:
            for _ in range(2):
                held.enter_context(server._slots.answering(ALICE, ""))
            asked = [await ask(server, peer, encode_request(SWARM, b"")) for peer in (ALICE, BOB)]
        asked.append(await ask(server, ALICE, encode_request(SWARM, b"")))
        assert server.counters == {"stats_busy": 1, "stats_served": 2}
        return [status for status, _ in asked]

    assert asyncio.run(scenario()) == [Status.BUSY, Status.OK, Status.OK]


def test_a_peer_that_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.exchange.peer_stats._TIMEOUT", 0.05)

    async def scenario() -> bytes:
        server = StatsServer(SWARM, lambda: STATS)
        (reader, writer), theirs = await pair()
        await server.serve(ALICE, *theirs)
        left = await reader.read()
        writer.close()
        return left

    assert asyncio.run(scenario()) == b""
