"""Log-probs beside texts: how they are packed, when they are told, and what the receiver's trainer gets of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from fakes import (
    ALICE,
    BOB,
    END,
    NODE,
    SWARM,
    Addition,
    ManualClock,
    body_of,
    door,
    encode,
    group,
    offer,
    told,
)

from policies.rollout import Finish, Group, Segment, TrainGroup
from policies.text.batching import rows_of
from swarm.body import SharedGroup, share, shareable
from swarm.codec import decode_body, encode_body
from swarm.gossip import Gossip, GossipSettings
from swarm.logprobs import LOWEST, pack, unpack
from swarm.memory import MemoryHub
from swarm.pool import Pool
from swarm.record import summarise
from swarm.verify import Door, DoorSettings, Outcome

FINGERPRINT = "tiny-100-0a1b2c3d"
TOKENIZER = "0a1b2c3d"


def test_the_error_is_bounded_and_smallest_for_likely_tokens() -> None:
    likely, all_of_them = np.linspace(-1.0, 0.0, 5001), np.linspace(LOWEST, 0.0, 50001)
    assert np.abs(np.array(unpack(pack(likely))) - likely).max() < 0.016
    assert np.abs(np.array(unpack(pack(all_of_them))) - all_of_them).max() < 0.063
    assert unpack(pack([0.0, 1e-9, -1e9, -math.inf])) == (0.0, 0.0, LOWEST, LOWEST)


def test_every_byte_is_a_log_prob() -> None:
    values = unpack(bytes(range(256)))
    assert all(math.isfinite(value) and LOWEST <= value <= 0.0 for value in values)
    assert sorted(values, reverse=True) == list(values)
    assert pack(values) == bytes(range(256))


def sampled(seed: int) -> Group:
    """A group whose tokens have log-probs, as own rollouts do."""
    plain, generator = group(seed), np.random.default_rng(seed)
    rollouts = []
    for rollout in plain.rollouts:
        ids = rollout.token_ids
        logprobs = tuple(generator.uniform(-9.0, 0.0, len(ids)).tolist())
        rollouts.append(replace(rollout, segments=(Segment(4, ids, logprobs),)))
    return replace(plain, rollouts=tuple(rollouts))


def node(
    peer: str, hub: MemoryHub, clock: ManualClock, *, tells: bool, tokenizer: str
) -> tuple[Gossip, Pool]:
    pool = Pool()
    keeper = Door(SWARM, peer, {Addition.name: Addition()}, encode, clock, DoorSettings(tokenizer=tokenizer))
    generator = np.random.default_rng(0)
    return Gossip(hub.join(peer), keeper, pool, clock, generator, GossipSettings(logprobs=tells)), pool


@pytest.mark.parametrize(
    ("tells", "tokenizer", "known"),
    [(True, TOKENIZER, True), (True, "ffffffff", False), (True, "", False), (False, TOKENIZER, False)],
)
def test_a_receivers_rows_have_the_senders_log_probs(tells: bool, tokenizer: str, known: bool) -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    alice, _ = node(ALICE, hub, clock, tells=tells, tokenizer="")
    bob, pool = node(BOB, hub, clock, tells=False, tokenizer=tokenizer)
    sent = sampled(7)
    alice.publish([sent], 1, 4, FINGERPRINT)
    alice.step()
    bob.step()
    [received] = pool.draw(1, np.random.default_rng(0), clock())
    rows = rows_of([TrainGroup(received, (0.5, -0.5))], lambda prompt: tuple(map(ord, prompt)), version=9)
    assert [row.token_ids for row in rows] == [rollout.token_ids for rollout in sent.rollouts]
    assert all(row.foreign and row.stale is None for row in rows)
    for row, rollout in zip(rows, sent.rollouts, strict=True):
        assert (row.logprobs is not None) is known
        if row.logprobs is not None:
            assert row.logprobs == pytest.approx(rollout.logprobs, abs=0.063)
    assert bob.counters().get("logprob_misfit", 0) == 0


def test_log_probs_of_another_number_of_tokens_are_left_out_and_counted() -> None:
    plain = told(7, ("it is 8", 1.0), ("it is 9", 0.25), ("9?", 0.0))
    lengths = (8, 9, 0)  # with its end a text of n characters has n + 1 tokens
    rollouts = tuple(replace(r, logprobs=bytes(n)) for r, n in zip(plain.rollouts, lengths, strict=True))
    content = body_of([SharedGroup(plain.task, 7, rollouts)], ALICE, fingerprint=FINGERPRINT)
    [(verdict, accepted)] = door(tokenizer=TOKENIZER).examine(*offer(content))
    assert (verdict.outcome, verdict.logprob_misfits) == (Outcome.ACCEPTED, 1)
    assert accepted is not None
    assert [rollout.logprobs for rollout in accepted.rollouts] == [(0.0,) * 8, None, None]
    assert accepted.rollouts[0].token_ids == (*map(ord, "it is 8"), END)
    [(verdict, accepted)] = door().examine(*offer(content))
    assert verdict.logprob_misfits == 0
    assert accepted is not None
    assert all(rollout.logprobs is None for rollout in accepted.rollouts)


def test_refused_groups_tell_nothing() -> None:
    bad = told(7, ("<control>", 1.0), ("it is 9", 0.25))
    rollouts = tuple(replace(rollout, logprobs=bytes(3)) for rollout in bad.rollouts)
    content = body_of([SharedGroup(bad.task, 7, rollouts)], ALICE, fingerprint=FINGERPRINT)
    [(verdict, rebuilt)] = door(tokenizer=TOKENIZER).examine(*offer(content))
    assert (verdict.outcome, verdict.logprob_misfits, rebuilt) == (Outcome.REFUSED, 0, None)


def test_only_texts_that_others_read_as_the_sampled_tokens_are_told_of() -> None:
    canonical, unknown = sampled(7).rollouts
    other_tokens = replace(canonical, segments=(Segment(4, (1, 2, 3), (-1.0, -2.0, -3.0)),))
    unencodable = replace(canonical, text="<control>")
    unknown = replace(unknown, segments=(replace(unknown.segments[0], logprobs=None),))
    rollouts = (canonical, other_tokens, unencodable, unknown)
    groups = [replace(sampled(7), rollouts=rollouts)]
    summary = summarise(groups, 1, 4, FINGERPRINT)
    [mine] = share(groups, SWARM, NODE, summary, encode).groups
    assert [len(rollout.logprobs) for rollout in mine.rollouts] == [len(canonical.token_ids), 0, 0, 0]
    [plain] = share(groups, SWARM, NODE, summary).groups
    assert all(rollout.logprobs == b"" for rollout in plain.rollouts)


def test_a_body_with_log_probs_fits_where_nothing_compresses(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = encode("it is 8", Finish.STOP)
    monkeypatch.setattr("swarm.body.SHARED_BYTES", 3 * 2 * (len(ids) - 1))
    groups = [sampled(seed) for seed in (1, 2, 3)]
    assert len(shareable(groups)) == 3
    assert len(shareable(groups, with_logprobs=True)) == 1


def test_a_body_with_log_probs_comes_back_as_it_went_in() -> None:
    groups = [sampled(1), sampled(2)]
    content = share(groups, SWARM, ALICE, summarise(groups, 1, 4, FINGERPRINT), encode)
    assert all(rollout.logprobs for shared in content.groups for rollout in shared.rollouts)
    assert decode_body(encode_body(content)) == content
