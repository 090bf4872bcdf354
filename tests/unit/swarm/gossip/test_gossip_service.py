"""Gossip: groups go out, verified groups come in, and nothing that goes wrong gets out of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fakes import ALICE, BOB, MALLORY, NODE, SWARM, ManualClock, body, group, offer
from small_gossip import gossip_of

from swarm.admission.peer_records import Standing
from swarm.admission.verdict import Outcome
from swarm.gossip.service import Exchanged
from swarm.limits import MAX_TEXT
from swarm.transport.in_memory import Faults, MemoryHub
from swarm.transport.silo import SiloTransport
from swarm.wire.announcement import Announcement


def test_groups_travel_from_one_node_to_another_once() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    alice, _ = gossip_of(ALICE, hub.join(ALICE), clock)
    bob, pool = gossip_of(BOB, hub.join(BOB), clock)
    alice.publish([group(1), group(2), group(3, ["it is 4", "surely 4"])], 1, 5, "tiny")
    alice.step()
    bob.step()
    bob.step()
    assert pool.counts() == {ALICE: 2}  # the third has nothing to learn from
    assert [verdict.outcome for verdict in bob.drain().verdicts] == [
        Outcome.ACCEPTED,
        Outcome.ACCEPTED,
        Outcome.SET_ASIDE,
    ]
    assert bob.drain() == Exchanged(0, ())
    assert {key: n for key, n in bob.counters().items() if n and key != "fetched_bytes"} == {
        "fetched": 1,
        "accepted": 2,
        "set_aside": 1,
    }
    assert alice.counters()["published"] == 1
    assert alice.drain().offered == 3


def test_what_is_too_large_to_be_published_is_told(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    alice, _ = gossip_of(ALICE, hub.join(ALICE), clock)
    large = group(2)
    overlong = replace(large.rollouts[0], text="x" * (MAX_TEXT + 1))
    alice.publish([group(1), replace(large, rollouts=(overlong, large.rollouts[1]))], 1, 5, "tiny")
    assert not alice.warnings
    alice.step()
    alice.step()
    assert alice.counters()["published_groups"] == 1
    assert alice.warnings["withheld"].startswith("1 overlong rollouts of this round stayed at home")
    assert alice.counters()["withheld_overlong_rollouts"] == 1
    assert caplog.messages.count("not published, as larger than peers take: 1 overlong rollouts") == 1
    alice.publish([group(3)], 2, 5, "tiny")
    alice.step()
    assert {key for key in alice.counters() if key.startswith("withheld")} == {"withheld_overlong_rollouts"}


def test_whoever_copies_this_node_is_known_for_it() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    gossip, pool = gossip_of(NODE, hub.join(NODE), clock)
    gossip.publish([group(1)], 1, 5, "tiny")
    gossip.step()
    hub.offer(*offer(body([group(1)], MALLORY)))
    gossip.step()
    assert gossip.counters()["known"] == 1
    assert len(pool) == 0


def test_fetches_are_bounded_and_uniform_over_peers() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    for number in range(12):
        hub.offer(*offer(body([group(number)], f"peer{number:02}")))
    gossip, pool = gossip_of(NODE, hub.join(NODE), clock, fetches=5)
    sizes = []
    for _ in range(4):
        gossip.step()
        sizes.append(len(pool))
    assert sizes == [5, 10, 12, 12]


def test_fetching_rests_while_the_pool_has_enough() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    for peer in (ALICE, BOB):
        hub.offer(*offer(body([group(1, [f"{peer} 2", f"{peer} 3"])], peer)))
    gossip, pool = gossip_of(NODE, hub.join(NODE), clock, fetches=1, enough=1)
    gossip.step()
    gossip.step()
    assert len(pool) == 1
    pool.draw(1, np.random.default_rng(0), clock())
    gossip.step()
    assert len(pool) == 1


def test_a_lost_fetch_is_tried_again_and_then_given_up() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock, Faults(loss=1.0))
    hub.offer(*offer(body([group(1)], ALICE)))
    gossip, pool = gossip_of(NODE, hub.join(NODE), clock, tries=3)
    for _ in range(5):
        gossip.step()
    assert gossip.counters()["fetch_failed"] == 3
    hub.faults = Faults()
    gossip.step()
    assert len(pool) == 0


def test_announcing_the_digest_of_another_uses_up_no_tries_of_its_owner() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    announcement, wire = offer(body([group(1)], ALICE))
    gossip, pool = gossip_of(NODE, hub.join(NODE), clock, tries=2)
    hub.offer(replace(announcement, peer=MALLORY), wire)
    for _ in range(3):
        gossip.step()
    assert gossip.counters()["refused_sender"] == 2
    hub.offer(announcement, wire)
    gossip.step()
    assert pool.counts() == {ALICE: 1}


def test_what_is_of_no_use_here_is_declined_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drawn publisher keeps its place in a sharded swarm until then: known, useless and stale ones must go."""
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    transport = hub.join(ALICE)
    told: list[Sequence[Announcement]] = []
    look = transport.announcements
    monkeypatch.setattr(
        transport, "announcements", lambda want, declined, known: told.append(declined) or look(want)
    )
    alice, _ = gossip_of(ALICE, transport, clock, fetches=1)
    for seed, peer in enumerate((BOB, MALLORY)):
        other, _ = gossip_of(peer, hub.join(peer), clock)
        other.publish([group(seed)], 1, 5, "tiny")
        other.step()
    for _ in range(4):
        alice.step()
    assert [len(declined) for declined in told] == [0, 0, 1, 2]
    assert {a.peer for a in told[3]} == {BOB, MALLORY}


def test_stale_offers_are_not_even_fetched() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    hub.offer(*offer(body([group(1)], ALICE), created=clock.now - 700))
    gossip, _ = gossip_of(NODE, hub.join(NODE), clock)
    gossip.step()
    assert "fetched" not in gossip.counters()


def test_refusals_are_verdicts_counters_and_one_line_a_body(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    hub.offer(*offer(replace(body([group(seed) for seed in range(3)], MALLORY), swarm="another")))
    gossip, pool = gossip_of(NODE, hub.join(NODE), clock)
    with caplog.at_level(logging.INFO, "swarm.gossip.service"):
        gossip.step()
    [verdict] = gossip.drain().verdicts
    assert (verdict.peer, verdict.label) == (MALLORY, "refused_swarm")
    assert gossip.counters()["refused_swarm"] == 1
    assert len(pool) == 0
    assert [record.getMessage() for record in caplog.records] == [f"from {MALLORY}: 1 refused_swarm"]


def test_a_node_knows_since_when_it_is_alone() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    gossip, _ = gossip_of(NODE, hub.join(NODE), clock, alone_after=30.0)
    assert not gossip.alone  # nobody was looked for so far
    clock.now += 29
    gossip.step()
    assert (gossip.alone, gossip.silence) == (True, 29.0)  # looked for and not there: said at once
    hub.offer(*offer(body([group(1)], ALICE), clock.now))
    gossip.step()
    assert (gossip.alone, gossip.silence) == (False, 0.0)
    clock.now -= 3600  # set back: patience starts anew, and does not last an hour longer
    assert (gossip.alone, gossip.silence) == (False, 0.0)
    clock.now += 30
    assert (gossip.alone, gossip.silence) == (True, 30.0)


def alone_after_the_last_of(*created: float) -> float:
    """Seconds after the last announcement at which a node says that it is alone, where they live for ever."""
    clock = ManualClock()
    hub, begun = MemoryHub(SWARM, clock), clock.now
    gossip, _ = gossip_of(NODE, hub.join(NODE), clock, alone_after=30.0)
    for number, after in enumerate(created):
        clock.now = begun + after
        hub.offer(*offer(body([group(number)], ALICE), clock.now))
        gossip.step()
        assert not gossip.alone
    while not gossip.alone:
        clock.now += 5
        gossip.step()
    return clock.now - begun - created[-1]


def test_announcements_outlive_who_made_them_and_keep_nobody_company() -> None:
    assert 30 <= alone_after_the_last_of(0, 2, 4, 6) <= 70


def test_a_slow_peer_is_waited_for_by_its_own_rhythm() -> None:
    assert 3 * 80 <= alone_after_the_last_of(0, 80, 160) <= 3 * 80 + 40


def test_dead_announcements_keep_nobody_company() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    gossip, _ = gossip_of(NODE, hub.join(NODE), clock, alone_after=30.0)
    for number in range(8):
        clock.now += 5
        announcement, wire = offer(body([group(number)], MALLORY), clock.now)
        hub.offer(announcement, wire[:-1])
        gossip.step()
    assert gossip.alone
    assert gossip._verifier.records.standing(MALLORY) is Standing.RESTING


def test_a_silo_is_not_alone_but_by_itself() -> None:
    clock = ManualClock()
    gossip, _ = gossip_of(NODE, SiloTransport(), clock, want=0)
    gossip.publish([group(1)], 1, 0, "tiny")
    clock.now += 3600
    gossip.step()
    assert (gossip.shares, gossip.alone, gossip.drain()) == (False, False, Exchanged(0, ()))


def test_what_no_peer_would_accept_is_not_published() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    gossip, _ = gossip_of(NODE, hub.join(NODE), clock)
    gossip.publish([group(1, origin=ALICE)], 1, 0, "tiny")
    gossip.step()
    assert hub.join(BOB).announcements(9) == []


def test_kept_verdicts_are_bounded_and_counters_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.gossip.service._KEPT_VERDICTS", 4)
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    hub.offer(*offer(body([group(seed) for seed in range(10)], ALICE)))
    gossip, _ = gossip_of(NODE, hub.join(NODE), clock)
    gossip.step()
    assert [verdict.seed for verdict in gossip.drain().verdicts] == [6, 7, 8, 9]
    assert (gossip.counters()["accepted"], gossip.counters()["verdicts_dropped"]) == (10, 6)
