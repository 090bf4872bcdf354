"""What hostile bodies come to at a node's door: the verdict of each, and the counter that its owner sees."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from announcing import MANIFEST, NOW, unsigned
from fakes import (
    BOB,
    MALLORY,
    NODE,
    SWARM,
    Addition,
    ManualClock,
    body,
    body_of,
    encode,
    group,
    offer,
    shared_group,
)

from policies.tasks.task import Task
from policies.workers.thread_seconds import charge
from swarm.admission.rollout_verifier import MAX_REFUSALS, MAX_UNJUDGED_OF_BODY, RolloutVerifier
from swarm.admission.verdict import Outcome
from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementRefused
from swarm.gossip.service import Gossip
from swarm.gossip.settings import GossipSettings
from swarm.sampling.external_pool import ExternalPool
from swarm.transport.in_memory import MemoryHub
from swarm.wire.body import Body
from swarm.wire.identity import Identity

SLOW = shared_group(1, *((f"{n} slow", 1.0) for n in range(MAX_UNJUDGED_OF_BODY)))
GOOD = [shared_group(seed, (f"it is {seed + 1}", 1.0), ("no", 0.0)) for seed in range(20, 24)]
UNKNOWN = [shared_group(n, ("1", 0.0), ("2", 0.0), task="unknown@1") for n in range(50)]


class Costly(Addition):
    """Each look at a text costs what a whole body may."""

    def score(self, problem: object, completion: str) -> float | None:
        charge(0.05)
        return 0.0


def door(task: Task | None = None) -> tuple[MemoryHub, Gossip, ManualClock]:
    clock, task = ManualClock(), task or Addition()
    hub = MemoryHub(SWARM, clock)
    keeper = RolloutVerifier(SWARM, NODE, {task.name: task}, encode, clock)
    settings = GossipSettings(alone_after=1)
    generator = np.random.default_rng(0)
    return hub, Gossip(hub.join(NODE), keeper, ExternalPool(), clock, generator, settings), clock


def met(sent: Body, task: Task | None = None) -> tuple[list[Outcome], Counter[str], str]:
    """Verdicts on a body, what a node counts of it, and what stands in its sender's record."""
    hub, gossip, _ = door(task)
    hub.offer(*offer(sent))
    gossip.step()
    verdicts = gossip.drain().verdicts
    return (
        [v.outcome for v in verdicts],
        Counter(gossip.counters()),
        gossip._verifier.records.reason(sent.sender),
    )


def test_a_body_that_goes_on_after_refusals_ends() -> None:
    outcomes, counters, record = met(body_of(UNKNOWN, MALLORY))
    assert outcomes == [Outcome.REFUSED] * (MAX_REFUSALS + 1)
    assert (counters["refused_task"], counters["refused_waste"]) == (MAX_REFUSALS, 1)
    assert record == f"task {MAX_REFUSALS}.0, waste 1.0"


def test_a_body_that_costs_and_teaches_nothing_ends() -> None:
    outcomes, counters, record = met(body_of(GOOD, MALLORY), Costly())
    assert outcomes == [Outcome.SET_ASIDE, Outcome.REFUSED]
    assert (counters["set_aside"], counters["refused_waste"]) == (1, 1)
    assert record == "others 1.0, waste 1.0"


def test_texts_that_a_sandboxed_scorer_comes_to_no_end_with_blame_nobody() -> None:
    """An overloaded scorer once gave right answers 0."""
    outcomes, counters, record = met(body_of([SLOW, *GOOD], MALLORY))
    assert outcomes == [Outcome.UNUSABLE] * 2  # the group, and what stands behind it
    assert counters["unusable"] == 2 and not [name for name in counters if name.startswith("refused")]
    assert record == "others 2.0"


@pytest.mark.parametrize("bodies", [60])
def test_many_bodies_make_no_old_group_new(bodies: int) -> None:
    hub, gossip, clock = door()
    hub.offer(*offer(body([group(1), group(2)], BOB), clock.now))
    gossip.step()
    for number in range(bodies):
        clock.now += 1
        groups = [group(100 + 4 * number + n) for n in range(4)]
        hub.offer(*offer(body(groups, MALLORY, round=number), clock.now))
        gossip.step()
    hub.offer(*offer(body([group(1), group(2)], BOB, round=2), clock.now))
    gossip.step()
    assert gossip.counters()["refused_replay"] == 2


@pytest.mark.parametrize("address", ["/dns4/localhost/tcp/4001", "/ip6/64:ff9b::7f00:1/tcp/4001"])
def test_an_announcement_that_names_a_host_or_hides_an_address_is_refused(address: str) -> None:
    """Names were looked up after they had been checked: three connects an announcement at a victim."""
    alice = Identity(bytes(32))
    forged = replace(unsigned(alice.peer_id, addresses=(address,)), signature=bytes(64)).encode()
    keeper = AnnouncementFilter(MANIFEST, lambda: NOW)
    with pytest.raises(AnnouncementRefused):
        keeper.admit(forged)
    assert keeper.refused == {"malformed": 1}
