"""Attacks 2 and 3: mallory sends again what was there, her own or bob's. Bar: nothing is trained on twice."""

from __future__ import annotations

import hashlib
import tracemalloc
from dataclasses import replace

import numpy as np
import zstandard
from fakes import (
    ALICE,
    BOB,
    MALLORY,
    NODE,
    SWARM,
    Addition,
    ManualClock,
    announce,
    body,
    encode,
    group,
    offer,
    verifier,
)

from swarm.admission.refusal import Reason
from swarm.admission.replay_guard import CAPACITY, ReplayGuard
from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.admission.verdict import Outcome, Verdict
from swarm.gossip.service import Gossip
from swarm.gossip.settings import GossipSettings
from swarm.sampling.external_pool import ExternalPool
from swarm.transport.in_memory import MemoryHub
from swarm.wire.body_codec import encode_body

THOUGHT = "adding one to {} by counting on gives {}"  # long enough to tell whose it is


def thoughts(seed: int, *answers: int) -> list[str]:
    return [THOUGHT.format(seed, answer) for answer in answers]


def reasons(keeper: RolloutVerifier, *offers: tuple[object, bytes]) -> list[Reason | None]:
    return [verdict.reason for sent in offers for verdict, _ in keeper.verify(*sent)]


def test_the_same_body_counts_once() -> None:
    sent = offer(body([group(1), group(2)], BOB))
    assert reasons(verifier(), sent, sent) == [None, None, Reason.REPLAY]


def test_another_compression_of_the_same_body_counts_once() -> None:
    sent = body([group(1)], MALLORY)
    raw = zstandard.ZstdDecompressor().decompress(encode_body(sent))
    squeezed = zstandard.ZstdCompressor(level=-50, write_checksum=True).compress(raw)
    assert squeezed != encode_body(sent)
    assert reasons(verifier(), offer(sent), (announce(sent, squeezed), squeezed)) == [None, Reason.REPLAY]


def test_a_problem_counts_once_a_peer_whatever_is_written_about_it() -> None:
    first, second = body([group(1)], MALLORY), body([group(1, ["now 2", "now 3"])], MALLORY, round=2)
    twice_in_one = body([group(5), group(5, ["so 6", "so 7"])], MALLORY, round=3)
    assert reasons(verifier(), offer(first), offer(second)) == [None, Reason.REPLAY]
    assert reasons(verifier(), offer(twice_in_one)) == [None, Reason.REPLAY]


def test_a_body_of_one_swarm_is_not_taken_in_another() -> None:
    sent = replace(body([group(1)], BOB), swarm="another")
    assert reasons(verifier(), offer(sent), offer(sent, swarm=SWARM)) == [Reason.SWARM, Reason.SWARM]


def test_old_work_under_a_fresh_announcement_is_no_new_work() -> None:
    clock = ManualClock()
    keeper, sent = verifier(clock), body([group(1)], MALLORY)
    assert reasons(keeper, offer(sent)) == [None]
    clock.now += 3600
    assert reasons(keeper, offer(sent, clock.now)) == [Reason.REPLAY]
    assert reasons(keeper, offer(replace(sent, round=9), clock.now)) == [Reason.REPLAY]


def outcomes(keeper: RolloutVerifier, *offers: tuple[object, bytes]) -> list[tuple[Outcome, int, int]]:
    """Outcome, rollouts that were taken or are known, and known ones, of each group."""
    verdicts = [verdict for sent in offers for verdict, _ in keeper.verify(*sent)]
    return [(verdict.outcome, verdict.rollouts, verdict.known) for verdict in verdicts]


def test_a_copied_group_counts_once_and_nobody_is_blamed() -> None:
    """Who announced first is no proof of who wrote: a copier that is quicker once got the author refused."""
    original = group(7, thoughts(7, 8, 9, 10, 11))
    for first, second in ((BOB, MALLORY), (MALLORY, BOB)):
        keeper = verifier()
        sent = offer(body([original], first)), offer(body([original], second))
        assert outcomes(keeper, *sent) == [(Outcome.ACCEPTED, 4, 0), (Outcome.KNOWN, 4, 4)]
        assert keeper.records.record(second).faults == keeper.records.record(second).blameless == 0
        assert keeper.records.record(second).good == 1


def test_known_texts_leave_a_group_and_the_rest_counts() -> None:
    original = group(7, thoughts(7, 8, 9, 10, 11))
    own = ["mallory counted otherwise and found that it is 8", "she found nothing at all the second time"]
    disguises = {
        "turned round": (thoughts(7, 11, 10, 9, 8), (Outcome.KNOWN, 4, 4)),
        "half of it own": ([*thoughts(7, 8, 9), *own], (Outcome.ACCEPTED, 2, 2)),
        "padded": ([*thoughts(7, 8, 9, 10, 11), "8", "9", "10"], (Outcome.ACCEPTED, 3, 4)),
        "doubled": (thoughts(7, 8, 9, 8, 9), (Outcome.KNOWN, 4, 4)),
    }
    for texts, expected in disguises.values():
        sent = offer(body([original], BOB)), offer(body([group(7, texts)], MALLORY))
        assert outcomes(verifier(), *sent)[1] == expected


def test_half_a_copy_with_poison_that_comes_first_leaves_the_author_his_other_half() -> None:
    written, poison = thoughts(7, 8, 9, 10, 11), ["poison " * 8 + "8", "poison " * 8 + "9"]
    keeper = verifier()
    sent = offer(body([group(7, [*written[:2], *poison])], MALLORY)), offer(body([group(7, written)], BOB))
    assert outcomes(keeper, *sent) == [(Outcome.ACCEPTED, 4, 0), (Outcome.SET_ASIDE, 2, 2)]


def test_a_copy_of_short_answers_counts_once_too() -> None:
    sent = offer(body([group(7)], BOB)), offer(body([group(7)], MALLORY))
    assert outcomes(verifier(), *sent)[1] == (Outcome.KNOWN, 2, 2)


def test_a_copy_of_short_answers_in_another_order_counts_once_where_there_are_three() -> None:
    """Of two distinct answers an order is all that tells a copy from what honest peers write."""
    for answers, outcome in (
        (["8", "9", "10", "8"], Outcome.KNOWN),
        (["8", "9", "9", "8"], Outcome.ACCEPTED),
    ):
        turned = group(7, [*answers[2:], *answers[:2]])
        sent = offer(body([group(7, answers)], BOB)), offer(body([turned], MALLORY))
        assert outcomes(verifier(), *sent)[1][0] is outcome


def test_a_copy_of_hundreds_of_rollouts_counts_once() -> None:
    original = group(7, thoughts(7, *range(8, 136)))
    sent = offer(body([original], BOB)), offer(body([original], MALLORY))
    assert outcomes(verifier(), *sent)[1] == (Outcome.KNOWN, 128, 128)


def test_many_bodies_of_one_peer_do_not_make_the_guard_forget_another() -> None:
    """Fifty bodies once flushed all that was remembered, and old groups were taken again."""
    guard = ReplayGuard(capacity=100)
    guard.remember(BOB, Addition.name, 7, thoughts(7, 8, 9))
    guard.remember_body(b"b" * 32, BOB)
    for number in range(1000):
        guard.remember(MALLORY, Addition.name, number, thoughts(number, 1, 2))
        guard.remember_body(number.to_bytes(32, "big"), MALLORY)
    assert guard.is_replay(BOB, Addition.name, 7)
    assert guard.knows_body(b"b" * 32)
    assert guard.known(MALLORY, Addition.name, 7, thoughts(7, 8, 9)) == [True, True]


def test_a_refused_group_gives_its_sender_no_claim_on_the_texts() -> None:
    stolen = thoughts(7, 8, 9)
    spoilt = body([group(7, [*stolen, "x"])], MALLORY)
    wrong = replace(spoilt.groups[0].rollouts[2], text="<control>")
    rollouts = (spoilt.groups[0].rollouts[0], wrong)  # one alone that can be read: nothing is taken
    spoilt = replace(spoilt, groups=(replace(spoilt.groups[0], rollouts=rollouts),))
    sent = offer(spoilt), offer(body([group(7, stolen)], BOB))
    assert reasons(verifier(), *sent) == [Reason.ENCODING, None]


def test_honest_peers_with_the_same_problem_are_hardly_ever_taken_for_copycats() -> None:
    """1,000 problems, eight short answers each, from two peers of equal skill; bar: under 1 % flagged."""
    generator, flagged = np.random.default_rng(0), 0
    for right in (0.3, 0.6, 0.8, 0.9, 0.95):
        guard = ReplayGuard()
        shares = [right, *[(1 - right) / 5] * 5]
        for seed in range(200):
            answers = [[str(seed + int(n)) for n in generator.choice(6, 8, p=shares)] for _ in range(2)]
            guard.remember(ALICE, Addition.name, seed, answers[0])
            flagged += any(guard.known(BOB, Addition.name, seed, answers[1]))
    assert flagged < 10


def test_no_group_reaches_training_twice_however_often_it_is_offered() -> None:
    clock = ManualClock()
    hub, pool = MemoryHub(SWARM, clock), ExternalPool()
    keeper = RolloutVerifier(SWARM, NODE, {Addition.name: Addition()}, encode, clock)
    gossip = Gossip(
        hub.join(NODE), keeper, pool, clock, np.random.default_rng(0), GossipSettings(alone_after=1)
    )
    trained: list[int] = []
    for round_number in range(10):
        clock.now += 1
        for peer in (BOB, MALLORY):
            hub.offer(*offer(body([group(1), group(2)], peer, round=round_number), clock.now))
        gossip.step()
        trained += [g.problem.seed for g in pool.draw(9, np.random.default_rng(0), clock.now)]
    assert sorted(trained) == [1, 2]
    counters = gossip.counters()
    assert counters["refused_replay"] + counters["known"] == 2 * 10 * 2 - 2


def test_the_guard_stays_within_10_mb_and_keeps_the_newest() -> None:
    guard = ReplayGuard()
    tracemalloc.start()
    for number in range(2 * CAPACITY):
        guard.remember_body(hashlib.sha256(str(number).encode()).digest(), f"{MALLORY}{number}")
        guard.remember(f"{MALLORY}{number}", Addition.name, number, thoughts(number, 1, 2))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 10e6
    last = 2 * CAPACITY - 1
    assert guard.is_replay(f"{MALLORY}{last}", Addition.name, last)
    assert all(guard.known(BOB, Addition.name, last, thoughts(last, 1, 2)))
    assert not guard.is_replay(f"{MALLORY}0", Addition.name, 0)


def test_a_verdict_on_a_copy_says_nothing_of_its_text() -> None:
    keeper = verifier()
    keeper.verify(*offer(body([group(7, thoughts(7, 8, 9))], BOB)))
    [(verdict, _)] = keeper.verify(*offer(body([group(7, thoughts(7, 8, 9))], MALLORY)))
    assert verdict == Verdict(
        Outcome.KNOWN, MALLORY, Addition.name, 7, 2, detail="another peer gave these before", known=2
    )
