"""Clocks that differ: whose is off, by how much, and what to do."""

from __future__ import annotations

import pytest
from announcing import MANIFEST, NOW, announce

from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementRefused
from swarm.discovery.clock_watch import ClockWatch, clock_refusal
from swarm.limits import CLOCK_SKEW
from swarm.wire.identity import Identity


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ([], ""),
        ([0.1, -0.2, 2.9], ""),
        ([12.0], "this machine's clock is 12.0 s behind that of peer p0, which may be the one that is off"),
        ([-12.0], "this machine's clock is 12.0 s ahead of that of peer p0"),
        ([0.0, 0.1, 40.0], "this machine's clock is 40.0 s behind that of peer p2, which may be"),
        ([10.0, 10.4, 10.2], "this machine's clock is 10.2 s behind those of 3 of 3 peers: set the clock"),
        ([-10.0, -10.4, 0.0], "this machine's clock is 10.2 s ahead of those of 2 of 3 peers: set the clock"),
    ],
)
def test_the_difference_and_the_likely_culprit_are_named(offsets: list[float], words: str) -> None:
    watch = ClockWatch()
    for number, offset in enumerate(offsets):
        watch.note(f"p{number}", offset)
    assert watch.warning.startswith(words) and bool(watch.warning) == bool(words)
    assert ("timedatectl" in watch.warning) == bool(words)


def test_the_newest_word_of_each_peer_counts_and_a_mended_clock_is_silent() -> None:
    watch = ClockWatch()
    watch.note("a", 20.0)
    watch.note("a", 0.5)
    assert (watch.offset, watch.peers, watch.warning) == (0.5, 1, "")
    for number in range(100):
        watch.note(f"p{number}", 1.0)
    assert watch.peers == 64


def test_hiveminds_refusal_becomes_words_with_the_difference() -> None:
    error = "local time must be within 3 seconds  of others(local: 1800000000.25000, peer: 1800000012.75000)"
    assert str(clock_refusal(error)).startswith(
        "this machine's clock is 12.5 s behind that of the peer that it joins through, and at most 3 s are taken"
    )
    assert clock_refusal("DHTNode bootstrap failed: none of the initial_peers responded to a ping.") is None


def test_announcements_of_a_clock_that_is_ahead_are_heard_of_when_they_are_signed() -> None:
    alice, watch = Identity(b"a" * 32), ClockWatch()
    keeper = AnnouncementFilter(MANIFEST, clock=lambda: NOW - CLOCK_SKEW - 5)
    keeper.on_future = lambda announcement, ahead: watch.note(announcement.peer, ahead)
    for raw in (bytes(64) + announce(alice).encode()[64:], announce(alice).encode()):
        assert watch.offset is None
        with pytest.raises(AnnouncementRefused, match="future"):
            keeper.admit(raw)
    assert watch.offset == CLOCK_SKEW + 5
    assert alice.peer_id in watch.warning
