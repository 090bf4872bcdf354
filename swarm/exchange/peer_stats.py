"""Peer statistics: a node answers one read-only request about itself, over a stream of its own.

Request: `[version, swarm id, membership token, extensions]`. Answer: one frame, OK with the figures or BUSY with
nothing. A request for another swarm, or of a stranger to a private one, gets no answer at all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgpack

from swarm import limits
from swarm.exchange.framing import Status, Stream, one_stream, read_request, write_frame
from swarm.exchange.stream_slots import StreamSlots
from swarm.sampling.newcomer_places import IsKnown, nobody_is_known
from swarm.version import find_version
from swarm.wire import extensions, fields
from swarm.wire.announcement import Summary

# Says whether (peer, token) may ask: everybody in an open swarm.
Admits = Callable[[str, bytes], bool]

_MAX_UPTIME = 1e9  # seconds: 30 years
_TIMEOUT = 5.0  # seconds for one stream from its first byte to its last
_SLOTS = 16  # answers at once, each of which takes a node well under a millisecond
_PEER_SLOTS = 2  # of one peer


@dataclass(frozen=True, slots=True)
class NodeStats:
    """A node's claims about itself. `of` and `decode` only ever give values within `swarm.limits`."""

    version: str  # of the program
    uptime: float  # seconds since its transport process started
    round: int  # of its newest body; 0 before the first
    policy_version: int  # of its newest body
    fingerprint: str  # of the policy behind its newest body; empty before the first
    peers_seen: int
    counters: tuple[tuple[str, int], ...]  # name and count, in the order of the names

    @classmethod
    def of(
        cls, uptime: float, newest: Summary | None, peers_seen: int, counters: Mapping[str, int]
    ) -> NodeStats:
        """The own figures; of too many counters, the first by name."""
        return cls(
            version=program_version(),
            uptime=min(max(0.0, uptime), _MAX_UPTIME),
            round=newest.round if newest else 0,
            policy_version=newest.policy_version if newest else 0,
            fingerprint=newest.fingerprint if newest else "",
            peers_seen=peers_seen,
            counters=tuple(sorted(counters.items())[: limits.MAX_COUNTERS]),
        )

    def encode(self) -> bytes:
        """Raises DecodeError when others would refuse it."""
        counters = [list(pair) for pair in self.counters]
        values = [limits.PROTOCOL_VERSION, self.version, float(self.uptime), self.round, self.policy_version]
        packed: bytes = msgpack.packb([*values, self.fingerprint, self.peers_seen, counters, []])
        NodeStats.decode(packed)
        return packed

    @classmethod
    def decode(cls, raw: bytes) -> NodeStats:
        """Raises DecodeError."""
        if len(raw) > limits.MAX_STATS:
            fields.refuse(f"stats of {len(raw)} bytes")
        values = fields.items(fields.unpack(raw, limits.MAX_COUNTERS), 64, "stats", least=1)
        fields.check_version(values[0], "the asked node")
        _, *figures, counters, more = fields.items(values, 9, "stats", least=9)
        program, uptime, round, policy_version, fingerprint, peers_seen = figures
        extensions.decode(more, "stats")
        return cls(
            version=fields.text(program, limits.MAX_VERSION, "program version"),
            uptime=fields.number(uptime, 0.0, _MAX_UPTIME, "uptime"),
            round=fields.integer(round, fields.MAX_COUNT, "round"),
            policy_version=fields.integer(policy_version, fields.MAX_COUNT, "policy version"),
            fingerprint=fields.text(fingerprint, limits.MAX_FINGERPRINT, "fingerprint"),
            peers_seen=fields.integer(peers_seen, fields.MAX_COUNT, "peers seen"),
            counters=_counters(counters),
        )


class StatsServer:
    """Answers who asks for this node's figures."""

    def __init__(
        self,
        swarm: str,
        stats: Callable[[], NodeStats],
        admits: Admits = lambda peer, token: True,
        is_known: IsKnown = nobody_is_known,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._swarm = swarm
        self._stats = stats
        self._admits = admits
        self._slots = StreamSlots(_SLOTS, _PEER_SLOTS, self.counters, is_known)

    async def serve(
        self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = ""
    ) -> None:
        """Answers one stream from `host`. Never raises: whatever a peer does ends this stream and nothing else."""
        async with one_stream(writer, _TIMEOUT, self.counters, "stats_failed"):
            await self._answer(peer, host, (reader, writer))

    async def _answer(self, peer: str, host: str, stream: Stream) -> None:
        async with self._slots.reading(peer, host):
            swarm, token = await read_request(stream, 2, "request")
        if swarm != self._swarm:
            fields.refuse("request for another swarm")
        if not (isinstance(token, bytes) and self._admits(peer, token)):
            fields.refuse("request of a stranger")
        with self._slots.answering(peer, host) as granted:
            if not granted:
                self.counters["stats_busy"] += 1
                return await write_frame(stream[1], Status.BUSY, b"")
            await write_frame(stream[1], Status.OK, self._stats().encode())
        self.counters["stats_served"] += 1


@cache
def program_version() -> str:
    return fields.printable(find_version())[: limits.MAX_VERSION]


def _counters(values: Any) -> tuple[tuple[str, int], ...]:
    pairs = [
        fields.items(p, 2, "counter", least=2) for p in fields.items(values, limits.MAX_COUNTERS, "counters")
    ]
    names = [fields.text(name, limits.MAX_COUNTER_NAME, "name of a counter") for name, _ in pairs]
    if names != sorted(set(names)):
        fields.refuse("counters out of order")
    counts = [fields.integer(count, fields.MAX_COUNT, "count") for _, count in pairs]
    return tuple(zip(names, counts, strict=True))
