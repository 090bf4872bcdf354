"""A sender hears of what peers left out of its bodies: the bytes that say so, and what is made of them."""

from __future__ import annotations

import asyncio

import msgpack
import pytest
from test_body_exchange import ALICE, BOB, BODY, CAROL, Peer, town

from swarm.admission.refusal import Reason
from swarm.errors import DecodeError, FetchFailed
from swarm.exchange.body_store import BodyStore
from swarm.exchange.told_refusals import ToldRefusals, decode_refused, encode_refused
from swarm.wire.extensions import MAX_EXTENSION, Reserved


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_refusals_survive_the_wire_and_all_reasons_fit_one_request() -> None:
    refused = {reason.value: 10**9 for reason in Reason}
    [(number, packed)] = encode_refused(refused)
    assert number == Reserved.REFUSALS == 5 and len(packed) <= MAX_EXTENSION
    assert decode_refused(((number, packed),)) == dict.fromkeys(refused, 2**20)
    assert encode_refused({}) == encode_refused({"encoding": 0}) == ()
    assert decode_refused(()) == decode_refused(((4, b"junk"),)) == {}
    later = msgpack.packb([["encoding", 2], ["of_later", 3]])
    assert decode_refused(((number, later),)) == {"encoding": 2}


@pytest.mark.parametrize(
    "value",
    [
        7,
        {"encoding": 1},
        [["encoding"]],
        [["encoding", 0]],
        [["encoding", -1]],
        [["encoding", True]],
        [["encoding", 1.0]],
        [["encoding", 2**20 + 1]],
        [["\x1b[2J", 1]],
        [["x" * 17, 1]],
        [["encoding", 1], ["encoding", 1]],
        [[f"reason{n}", 1] for n in range(33)],
    ],
)
def test_refusals_out_of_bounds_are_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        decode_refused(((Reserved.REFUSALS, msgpack.packb(value)),))


def test_a_publisher_is_told_and_nobody_whom_it_is_fetched_from_instead() -> None:
    alice, bob, carol = Peer(ALICE), Peer(BOB), Peer(CAROL)
    wanted = alice.offer(BODY)

    async def scenario() -> None:
        dial, _ = town(bob, alice)
        assert await bob.exchange.fetch(wanted, dial, {"encoding": 3, "length": 1}) == BODY
        alice.exchange.bodies = BodyStore(0)  # she lost it, and names who has it
        dial, dialled = town(carol, alice, bob)
        assert await carol.exchange.fetch(wanted, dial, {"encoding": 1}) == BODY
        assert [peer for peer, _ in dialled] == [ALICE.peer_id, BOB.peer_id]

    asyncio.run(scenario())
    assert alice.exchange.told.counters == {"told_refused_encoding": 4, "told_refused_length": 1}
    assert not bob.exchange.told.counters


def test_a_request_with_junk_for_refusals_gets_nothing_and_counts_nothing() -> None:
    alice, bob = Peer(ALICE), Peer(BOB)
    wanted = alice.offer(BODY)

    async def scenario() -> None:
        dial, _ = town(bob, alice)
        await bob.exchange.fetch(wanted, dial, {"\n": 1})

    with pytest.raises(FetchFailed, match=ALICE.peer_id):
        asyncio.run(scenario())
    assert alice.exchange.counters == {"serve_failed": 1} and not alice.exchange.told.counters


def test_the_owner_is_told_by_known_peers_alone_of_more_than_a_few_and_for_an_hour() -> None:
    clock = Clock()
    told = ToldRefusals(lambda peer: peer == "friend", clock)
    told.note("stranger", {"encoding": 1000})
    told.note("friend", {"encoding": 5, "length": 2})
    assert told.warning == ""
    told.note("friend", {"encoding": 1})
    assert told.warning.startswith(
        "peers left out 8 rollouts of this node of late, as they say: encoding 6, length 2."
    )
    assert told.counters == {"told_refused_encoding": 1006, "told_refused_length": 2}
    clock.now = 3600.0
    assert told.warning == ""
