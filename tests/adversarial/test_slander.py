"""A peer that says it refused what it did not: counted in a few figures, told to nobody, and nothing comes of it."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Mapping

import msgpack
from announcing import MANIFEST, NOW

from swarm.admission.refusal import Reason
from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.exchange.body_exchange import BodyExchange
from swarm.exchange.body_store import ServeLimits
from swarm.exchange.framing import Status, encode_request, read_frame, write_frame
from swarm.exchange.told_refusals import encode_refused
from swarm.wire.extensions import Reserved
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership

ALICE, MALLORY = (Identity.ephemeral().peer_id for _ in range(2))
BODY = b"what alice wrote"
DIGEST = hashlib.sha256(BODY).digest()


def exchange() -> BodyExchange:
    own = Membership.of(MANIFEST, b"", ALICE)
    keeper = AnnouncementStore(AnnouncementFilter(MANIFEST, clock=lambda: NOW), ALICE)
    served = BodyExchange(own, ServeLimits(), keeper)
    served.bodies.put_own(DIGEST, BODY)
    return served


async def asked(alice: BodyExchange, refused: Mapping[str, int], *, raw: bytes | None = None) -> bytes:
    """What alice answers a fetch that says so; nothing where she hangs up."""
    left, right = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=left)
    serving = asyncio.create_task(alice.serve(MALLORY, *await asyncio.open_connection(sock=right)))
    more = encode_refused(refused) if raw is None else ((Reserved.REFUSALS, raw),)
    await write_frame(writer, Status.OK, encode_request(MANIFEST.swarm_id, DIGEST, b"", more=more))
    try:
        return (await read_frame(reader, 100))[1]
    except (EOFError, ConnectionError):
        return b""
    finally:
        writer.close()
        await serving


def test_a_slanderer_gets_the_body_and_nobody_hears_of_its_words() -> None:
    alice = exchange()
    lies = {reason.value: 10**12 for reason in Reason}
    for _ in range(3):
        assert asyncio.run(asked(alice, lies)) == BODY
    assert alice.told.warning == ""
    assert set(alice.told.counters) == {f"told_refused_{reason.value}" for reason in Reason}
    assert max(alice.told.counters.values()) == 3 * 2**20
    assert alice.counters == {"served": 3, "served_bytes": 3 * len(BODY)}


def test_invented_reasons_make_no_counters_and_bombs_get_no_answer() -> None:
    alice = exchange()
    for number in range(20):
        invented = {f"r{number}x{n}": 1 for n in range(20)}
        assert asyncio.run(asked(alice, invented)) == BODY
    for bomb in (b"\xdd\xff\xff\xff\xff", b"\x91" * 500, msgpack.packb([["\x1b[2J", 1]]), b"\xc1"):
        assert asyncio.run(asked(alice, {}, raw=bomb)) == b""
    assert not alice.told.counters and alice.counters["serve_failed"] == 4
