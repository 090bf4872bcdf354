"""What is refused of a peer is told to it with the next fetch: a sender hears of it in no other way."""

from __future__ import annotations

from collections.abc import Mapping

from fakes import ALICE, BOB, MALLORY, SWARM, ManualClock, body, body_of, group, offer, shared_group
from small_gossip import gossip_of

from swarm.admission.refusal import Reason
from swarm.admission.verdict import Outcome, Verdict
from swarm.errors import FetchFailed
from swarm.exchange.told_refusals import NO_REFUSALS
from swarm.gossip.refusals_to_tell import RefusalsToTell
from swarm.transport.in_memory import MemoryHub, MemoryTransport
from swarm.wire.announcement import Announcement

SPOILT = [
    shared_group(1, ("<control>", 1.0), ("it is 2", 1.0), ("x" * 601, 0.0), ("no", 0.25)),
    shared_group(
        2, ("<control>", 1.0), ("<control>", 1.0), ("it is 3", 1.0)
    ),  # two cannot be read: one is no group
    shared_group(3, ("it is 4", 1.0), ("it is 5", 0.25)),
]


class Losing(MemoryTransport):
    """Loses a fetch when told to, and remembers what each was to tell."""

    lose = False

    def fetch(self, announcement: Announcement, refused: Mapping[str, int] = NO_REFUSALS) -> bytes:
        self.told = dict(refused)
        if self.lose:
            raise FetchFailed("lost")
        return super().fetch(announcement, refused)


def test_a_sender_learns_what_was_refused_of_its_bodies() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    reading, bob = Losing(hub, ALICE), hub.join(BOB)
    alice, pool = gossip_of(ALICE, reading, clock)
    hub.offer(*offer(body_of(SPOILT, BOB), clock.now))
    alice.step()
    assert len(pool) == 2 and reading.told == {}  # the groups that could be read, and nothing to tell before
    assert "told_refused_encoding" not in bob.status().counters

    clock.now += 1
    hub.offer(*offer(body([group(5)], BOB, round=2), clock.now))
    reading.lose = True
    alice.step()
    assert "told_refused_encoding" not in bob.status().counters
    reading.lose = False
    alice.step()
    assert bob.status().counters["told_refused_encoding"] == 1 + 3 + 1  # with the one of 601 letters

    clock.now += 1
    hub.offer(*offer(body([group(6)], BOB, round=3), clock.now))
    alice.step()
    assert reading.told == {}  # once is enough
    assert bob.status().counters["told_refused_encoding"] == 5


def test_it_is_told_to_nobody_else() -> None:
    clock = ManualClock()
    hub = MemoryHub(SWARM, clock)
    alice, _ = gossip_of(ALICE, hub.join(ALICE), clock)
    hub.offer(*offer(body_of(SPOILT, BOB), clock.now))
    alice.step()
    clock.now += 1
    hub.offer(*offer(body([group(7)], MALLORY), clock.now))
    alice.step()
    assert not hub.told(MALLORY)


def test_what_waits_is_bounded_and_adds_up() -> None:
    waiting = RefusalsToTell()
    whole = Verdict.refused(BOB, Reason.STALE, "a whole body")
    partly = Verdict(Outcome.ACCEPTED, BOB, "sort@1", 1, 6, left_out=(Reason.ENCODING, Reason.LENGTH))
    waiting.note([whole, partly, Verdict(Outcome.ACCEPTED, BOB, "sort@1", 2, 8)])
    waiting.note([partly])
    assert waiting.take(BOB) == {"stale": 1, "encoding": 2, "length": 2}
    assert waiting.take(BOB) == waiting.take(ALICE) == {}
    waiting.note([whole])
    for number in range(300):
        waiting.add(f"peer{number}", {"stale": 1})
    assert waiting.take(BOB) == {} and waiting.take("peer299") and len(waiting._waiting) < 256
