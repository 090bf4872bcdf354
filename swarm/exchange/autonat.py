"""Reachability: a peer dials this node back from outside and says which ports answered.

Request: `[version, swarm id, membership token, ports, extensions]`. Answer: a status and `[host, ports that answered,
extensions]`. The peer dials no address but the one that the question came from, and no port where it finds no libp2p
header.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import msgpack

from swarm import limits
from swarm.errors import DecodeError, FetchFailed
from swarm.exchange.framing import (
    Dial,
    Status,
    Stream,
    ask_once,
    check_caller,
    encode_request,
    one_stream,
    read_request,
    write_frame,
)
from swarm.exchange.rate_limit import PeerBuckets
from swarm.exchange.stream_slots import StreamSlots
from swarm.sampling.newcomer_places import IsKnown, nobody_is_known
from swarm.wire import extensions, fields
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address

log = logging.getLogger(__name__)

MAX_PORTS = 4
_MAX_ASKED = 3  # peers
_MAX_ANSWER = 256  # bytes
_DIAL_TIMEOUT = 4.0  # seconds for one port
_TIMEOUT = 10.0  # seconds for the whole question
_MULTISTREAM_HEADER = b"\x13/multistream/1.0.0\n"  # what every libp2p host says first
_SLOTS = 16  # questions answered at once; one of one peer
_HOST_ALLOWANCE = 4  # peers' allowances that all at one host have together
_EVERY = 20.0  # seconds between questions of one peer, after three at once


class Reachability(StrEnum):
    UNKNOWN = "unknown"  # nobody was asked yet, or nobody answered
    OPEN = "open"  # a peer has dialled this node
    HIDDEN = "hidden"  # peers tried and could not


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one peer saw of this node."""

    host: str  # where the question came from: the node's address as the world sees it
    ports: tuple[int, ...]  # those of the asked ones that answered


class DialBackServer:
    """Dials peers back on their request."""

    def __init__(self, membership: Membership, is_known: IsKnown = nobody_is_known) -> None:
        self.counters: Counter[str] = Counter()
        self._membership = membership
        self._slots = StreamSlots(_SLOTS, 1, self.counters, is_known)
        self._allowance = PeerBuckets(1.0 / _EVERY, 3.0)
        self._hosts = PeerBuckets(_HOST_ALLOWANCE / _EVERY, 3.0 * _HOST_ALLOWANCE)

    async def serve(
        self, peer: str, seen_at: Address | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answers one stream from `seen_at`, None where that is no address to dial (a relay). Never raises."""
        async with one_stream(writer, _TIMEOUT, self.counters, "reach_failed"):
            await self._answer(peer, seen_at, (reader, writer))

    async def _answer(self, peer: str, seen_at: Address | None, stream: Stream) -> None:
        host = seen_at.host if seen_at else ""
        async with self._slots.reading(peer, host):
            swarm, token, asked = await read_request(stream, 3, "question")
        check_caller(self._membership, peer, swarm, token)
        ports = [_port(p) for p in fields.items(asked, MAX_PORTS, "ports", least=1)]
        with self._slots.answering(peer, host) as granted:
            allowed = granted and self._allowance.take(peer, 1.0) and self._hosts.take(host, 1.0)
            if seen_at is None or not allowed:
                return await write_frame(stream[1], Status.BUSY, b"")
            answered = await asyncio.gather(*(_speaks_libp2p(host, port) for port in ports))
            found = [port for port, heard in zip(ports, answered, strict=True) if heard]
            await write_frame(stream[1], Status.OK, msgpack.packb([host, found, []]))


async def ask(stream: Stream, own: Membership, ports: Sequence[int]) -> Sighting | None:
    """What the peer at the other end sees of `ports`; None when it does not look now.

    Raises DecodeError, OSError, EOFError.
    """
    request = encode_request(own.swarm, own.token, list(ports)[:MAX_PORTS])
    status, answer = await ask_once(stream, request, _MAX_ANSWER, _TIMEOUT)
    if status is not Status.OK:
        return None
    host, found, more = fields.items(fields.unpack(answer), 3, "sighting", least=3)
    extensions.decode(more, "sighting")
    open_ports = [_port(p) for p in fields.items(found, MAX_PORTS, "ports")]
    return Sighting(fields.text(host, limits.MAX_ADDRESS, "host"), tuple(p for p in open_ports if p in ports))


async def probe_reachability(
    candidates: Sequence[Address], own: Membership, ports: Sequence[int], dial: Dial
) -> Reachability:
    """Asks a few of `candidates`. A node that any could dial is open; hidden takes that some tried and none could."""
    asked = random.sample(candidates, min(len(candidates), _MAX_ASKED))
    answers = await asyncio.gather(*(_ask_one(peer, own, ports, dial) for peer in asked))
    seen = [answer for answer in answers if answer]
    if not seen:
        return Reachability.UNKNOWN
    reach = Reachability.OPEN if any(s.ports for s in seen) else Reachability.HIDDEN
    log.info("peers see this node at %s: %s", seen[0].host, reach)
    return reach


async def _ask_one(peer: Address, own: Membership, ports: Sequence[int], dial: Dial) -> Sighting | None:
    assert peer.peer is not None
    try:
        return await ask(await dial(peer.peer, [str(peer.without_peer())]), own, ports)
    except (FetchFailed, DecodeError, OSError, EOFError) as error:
        log.debug("%s did not look: %s", peer.peer, type(error).__name__)
        return None


async def _speaks_libp2p(host: str, port: int) -> bool:
    """Whether a libp2p host listens there: a router's own page, or another program, does not count."""
    with suppress(OSError, EOFError):
        async with asyncio.timeout(_DIAL_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return await reader.readexactly(len(_MULTISTREAM_HEADER)) == _MULTISTREAM_HEADER
            finally:
                writer.close()
    return False


def _port(value: object) -> int:
    return fields.integer(value, 65535, "port", low=1)
