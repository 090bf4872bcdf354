"""Clocks that differ: whose is off, by how much, and what to do."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest
from announcing import MANIFEST, NOW, announce

from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementRefused
from swarm.discovery.clock_watch import ClockWatch, clock_refusal
from swarm.limits import CLOCK_SKEW
from swarm.wire.identity import Identity


@dataclass
class Machine:
    """Its clock, and its steady count of seconds, on which nothing but `live` has a hand."""

    wall: float = NOW
    steady: float = 100.0

    def live(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def watch(self) -> ClockWatch:
        return ClockWatch(lambda: self.wall, lambda: self.steady)


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
    assert (watch.peers, watch.warning) == (1, "")
    assert watch.offset == pytest.approx(0.5, abs=0.1)
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
    assert watch.offset == pytest.approx(CLOCK_SKEW + 5, abs=1.0)
    assert alice.peer_id in watch.warning


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3600.0, "was set forward by 3600 s"), (-3600.0, "was set back by 3600 s"), (CLOCK_SKEW - 1, "")],
)
def test_a_clock_that_is_set_while_a_node_runs_is_told_with_the_next_step_and_so_is_its_return(
    seconds: float, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    machine = Machine()
    watch = machine.watch()
    machine.live(500.0)
    assert not watch.look()
    machine.wall += seconds
    assert watch.look() == bool(words) and not watch.look()
    assert words in watch.warning and ("timedatectl" in watch.warning) == bool(words)
    machine.live(100.0)
    machine.wall -= seconds
    assert watch.look() == bool(words) and watch.warning == ""
    assert [record.getMessage()[:13] for record in caplog.records] == [
        "this machine'",
        "no clock is o",
    ] * bool(words)


def test_what_peers_answered_before_tells_how_far_off_a_clock_is_that_was_set() -> None:
    machine = Machine()
    watch = machine.watch()
    watch.note("a", 0.5)
    watch.note("b", 0.5)
    machine.wall += 20.0  # announcements still pass
    assert watch.offset == -19.5
    assert watch.warning.startswith("this machine's clock is 19.5 s ahead of those of 2 of 2 peers")


def test_a_clock_that_was_set_right_is_no_trouble_once_a_peer_says_so() -> None:
    machine = Machine()
    watch = machine.watch()  # an hour behind, and nobody there to say so
    machine.wall += 3600.0
    assert "was set forward" in watch.warning
    watch.note("a", 0.2)
    assert watch.warning == ""
    machine.wall -= 3600.0
    assert "was set back by 3600 s" in watch.warning


def test_an_announcement_from_the_future_tells_of_no_peer_that_is_behind() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.wall -= 3600.0
    watch.note("a", 3590.0, at_least=True)  # made ten seconds before it came
    assert watch.offset == 3590.0
    machine.wall += 3600.0
    assert watch.offset == 0.0 and watch.warning == ""


def test_it_is_said_when_all_that_peers_announce_is_out_of_time() -> None:
    watch = Machine().watch()
    for number in range(20):
        assert watch.warning.startswith("all that peers announced of late was refused" if number >= 8 else "")
        assert bool(watch.warning) == (number >= 8)
        watch.note_announced(f"p{number % 2}", NOW - 3600.0, in_time=False)
    watch.note_announced("p0", NOW, in_time=True)
    assert watch.warning == ""


@pytest.mark.parametrize("behind", [100.0, 3600.0])
def test_a_peer_that_was_behind_and_announces_what_it_could_not_have_made_is_no_longer_off(
    behind: float,
) -> None:
    machine = Machine()
    watch = machine.watch()
    watch.note("a", -behind)
    watch.note_announced("a", machine.wall - 5.0, in_time=True)  # made before
    machine.live(30.0)
    watch.note_announced("a", machine.wall, in_time=True)  # nobody makes the warning come and go
    machine.live(270.0)
    watch.note_announced("a", machine.wall - behind, in_time=True)  # as far behind as ever
    assert "that of peer a" in watch.warning
    watch.note_announced("a", machine.wall, in_time=True)
    assert watch.warning == ""


def test_a_peer_that_was_ahead_and_announces_in_time_later_on_is_no_longer_off() -> None:
    machine = Machine()
    watch = machine.watch()
    watch.note("a", 3600.0)
    watch.note_announced("a", machine.wall - 5.0, in_time=True)  # made before
    machine.live(30.0)
    watch.note_announced("a", machine.wall, in_time=True)  # nobody makes the warning come and go
    assert "that of peer a" in watch.warning
    machine.live(60.0)
    watch.note_announced("a", machine.wall, in_time=True)
    assert watch.warning == ""
