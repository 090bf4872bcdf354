"""The gossip's thread: pauses, failures in a cycle, fetches that hang, and the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

import pytest
from fakes import ALICE, BOB, NODE, SWARM, ManualClock, body, group, offer
from small_gossip import SECONDS, Broken, gossip_of

from swarm.errors import FetchFailed, TransportDown
from swarm.exchange.told_refusals import NO_REFUSALS
from swarm.transport.in_memory import MemoryHub
from swarm.wire.announcement import Announcement


def test_a_dead_transport_is_counted_and_work_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    gossip, _ = gossip_of(NODE, Broken(TransportDown("the daemon is gone")), clock, queue=2)
    for number in range(3):
        gossip.publish([group(number)], number, 0, "tiny")
    with caplog.at_level(logging.WARNING, "swarm.gossip.service"):
        gossip.step()
    assert gossip.counters() == {"publish_dropped": 1, "transport_failed": 2}
    assert "the daemon is gone" in caplog.text

    hub = MemoryHub(SWARM, clock)
    gossip._transport = hub.join(NODE)
    gossip.step()
    assert (gossip.counters()["published"], gossip.drain().offered) == (1, 2)
    [newest] = hub.join(BOB).announcements(9)
    assert (newest.summary.round, newest.summary.groups) == (2, 2)  # both rounds that waited, in one body


def test_pauses_double_while_calls_fail_and_recover_with_the_transport() -> None:
    clock = ManualClock()
    broken = Broken(FetchFailed("no"), healthy=True)
    gossip, _ = gossip_of(NODE, broken, clock, interval=2.0, late_pause=10.0)
    pauses: list[float] = []

    class Stop:
        """Notes how long each pause would be; the transport recovers after the fourth, and all ends after the fifth."""

        def is_set(self) -> bool:
            return len(pauses) == 5

        def wait(self, seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 4:
                gossip._transport = MemoryHub(SWARM, clock).join(NODE)

    gossip._stop = Stop()  # type: ignore[assignment]
    gossip._run(gossip._collect)
    assert pauses == [4.0, 8.0, 10.0, 10.0, 2.0]


def test_a_pause_ends_once_a_transport_that_was_down_is_up() -> None:
    """A node whose transport took a minute to start rested another minute after it was there."""
    clock, waits = ManualClock(), list[float]()
    starting = Broken(TransportDown("starting"))
    gossip, _ = gossip_of(NODE, starting, clock, interval=2.0, longest_pause=60.0)

    class Stop:
        def wait(self, seconds: float) -> None:
            waits.append(seconds)
            starting.healthy = len(waits) == 7

    gossip._stop = Stop()  # type: ignore[assignment]
    gossip._rest(5)
    assert waits == [2.0] * 7
    starting.healthy = False
    gossip._rest(1)
    assert waits == [2.0] * 9, "while it is down, the whole pause of four seconds"


class Signalling(Broken):
    """Breaks in a way that nobody foresaw, and says that it was called."""

    def __init__(self) -> None:
        super().__init__(KeyError("unforeseen"))
        self.calls = threading.Semaphore(0)

    def announcements(
        self, want: int, declined: Sequence[Announcement] = (), known: Sequence[str] = ()
    ) -> Sequence[Announcement]:
        self.calls.release()
        raise self.error


def test_the_thread_outlives_whatever_happens_in_a_cycle(caplog: pytest.LogCaptureFixture) -> None:
    transport = Signalling()
    gossip, _ = gossip_of(NODE, transport, ManualClock(), interval=0.001)
    gossip.start()
    assert all(transport.calls.acquire(timeout=SECONDS) for _ in range(3))
    with pytest.raises(RuntimeError, match="runs already"):
        gossip.start()
    gossip.close()
    assert gossip.counters()["fault"] >= 2
    assert "a gossip cycle failed" in caplog.text


class Hanging(Broken):
    """Has one body that never arrives until the transport is closed."""

    def __init__(self, announcement: Announcement) -> None:
        super().__init__(FetchFailed("closed"))
        self.announcement = announcement
        self.asked, self.closed = threading.Event(), threading.Event()

    def announcements(
        self, want: int, declined: Sequence[Announcement] = (), known: Sequence[str] = ()
    ) -> Sequence[Announcement]:
        return [self.announcement]

    def fetch(self, announcement: Announcement, refused: Mapping[str, int] = NO_REFUSALS) -> bytes:
        self.asked.set()
        self.closed.wait(SECONDS)
        raise self.error


def test_publish_and_close_do_not_wait_for_a_fetch_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.gossip.service._CLOSE_SECONDS", 0.01)
    transport = Hanging(offer(body([group(1)], ALICE))[0])
    gossip, _ = gossip_of(NODE, transport, ManualClock())
    gossip.start()
    assert transport.asked.wait(SECONDS)
    gossip.publish([group(2)], 1, 0, "tiny")
    gossip.close()
    assert not transport.closed.is_set()
    transport.closed.set()
    for thread in gossip._threads:
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_it_starts_again_after_it_was_closed() -> None:
    transport = Signalling()
    gossip, _ = gossip_of(NODE, transport, ManualClock(), interval=0.001)
    for _ in range(2):
        gossip.start()
        assert transport.calls.acquire(timeout=SECONDS)
        gossip.close()
        gossip.close()
        while transport.calls.acquire(blocking=False):
            pass
