"""Attack 4: mallory claims rewards that her completions do not have. Bar: the same training, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import (
    MALLORY,
    NODE,
    SWARM,
    Addition,
    ManualClock,
    announce,
    body_of,
    encode,
    group,
    offer,
    shared_group,
    verifier,
)

from policies.rollout import Group
from swarm.admission.refusal import Reason
from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.admission.verdict import Outcome
from swarm.gossip.service import Gossip
from swarm.sampling.external_pool import ExternalPool
from swarm.sampling.sampler import Batch, Mix, draw_batch
from swarm.transport.in_memory import MemoryHub
from swarm.wire.body_codec import encode_body

TEXTS = ("it is 8", "it is 9", "I do not know", "8 or 9, rather 9")
TRUTH = (1.0, 0.25, 0.0, 0.25)
LIES = [
    (1.0, 1.0, 1.0, 1.0),
    (0.0, 0.0, 0.0, 0.0),
    (0.0, 1.0, 1.0, 1.0),
    (0.5, 0.25, 0.0, 0.25),
    (1.0, 0.25, 5e-324, 0.25),
]
IMPOSSIBLE = [float("nan"), float("inf"), -float("inf"), 1e9, -1.0, 1.0000001]


def claiming(*claims: float) -> tuple[Group, ...]:
    """What the verifier makes of mallory's group under these claims."""
    verified = verifier().verify(
        *offer(body_of([shared_group(7, *zip(TEXTS, claims, strict=True))], MALLORY))
    )
    return tuple(rebuilt for _, rebuilt in verified if rebuilt is not None)


def batch_under(*claims: float) -> tuple[Batch, dict[str, int]]:
    """What a node trains on next, with mallory's group among others in its pool, and its counters."""
    clock = ManualClock()
    hub, pool = MemoryHub(SWARM, clock), ExternalPool()
    keeper = RolloutVerifier(SWARM, NODE, {Addition.name: Addition()}, encode, clock)
    gossip = Gossip(hub.join(NODE), keeper, pool, clock, np.random.default_rng(0))
    hub.offer(*offer(body_of([shared_group(7, *zip(TEXTS, claims, strict=True))], MALLORY)))
    gossip.step()
    own = [group(seed) for seed in range(20, 24)]
    return draw_batch(own, pool, Mix(2, 2), np.random.default_rng(0), clock()), gossip.counters()


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_changes_no_group(lie: tuple[float, ...]) -> None:
    [rebuilt] = claiming(*lie)
    assert rebuilt.rewards == TRUTH
    assert (rebuilt,) == claiming(*TRUTH)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_changes_no_batch_and_is_counted(lie: tuple[float, ...]) -> None:
    honest, without = batch_under(*TRUTH)
    deceived, counters = batch_under(*lie)
    assert deceived == honest
    assert len(honest.external) == 1
    assert without["claim_mismatch"] == 0
    assert counters["claim_mismatch"] == sum(abs(a - b) > 1e-6 for a, b in zip(lie, TRUTH, strict=True))


@pytest.mark.parametrize("claim", IMPOSSIBLE)
def test_an_impossible_claim_refuses_the_body(claim: float) -> None:
    forged = body_of([shared_group(7, ("it is 8", claim), ("it is 9", 0.25))], MALLORY)
    [(verdict, rebuilt)] = verifier().verify(announce(forged, encode_body(forged)), encode_body(forged))
    assert (verdict.outcome, verdict.reason, rebuilt) == (Outcome.REFUSED, Reason.DECODE, None)


def test_claims_cannot_give_a_signal_to_a_group_without_one() -> None:
    flat = body_of([shared_group(7, ("no", 1.0), ("nor this", 0.0))], MALLORY)
    [(verdict, _)] = verifier().verify(*offer(flat))
    assert (verdict.outcome, verdict.mean_reward) == (Outcome.SET_ASIDE, 0.0)
