"""One key on two machines: what this key signed and this node did not make says so."""

from __future__ import annotations

import logging

import pytest
from announcing import MANIFEST, NOW, announce

from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementRefused
from swarm.discovery.key_watch import KeyWatch
from swarm.wire.identity import Identity

ALICE, BOB = Identity(b"a" * 32), Identity(b"b" * 32)
MADE, OTHER = b"m" * 32, b"o" * 32


@pytest.mark.parametrize(
    ("who", "digest", "created", "foreign"),
    [
        (ALICE, MADE, NOW, 0),  # the own, on its way back
        (ALICE, OTHER, NOW - 30, 0),  # of before this process began: an earlier run's
        (BOB, OTHER, NOW, 0),  # of another peer
        (ALICE, OTHER, NOW, 1),
    ],
)
def test_own_signed_announcements_of_foreign_bodies_are_counted(
    who: Identity, digest: bytes, created: float, foreign: int, caplog: pytest.LogCaptureFixture
) -> None:
    watch = KeyWatch(ALICE.peer_id, NOW - 10)
    watch.note_made(MADE)
    keeper = AnnouncementFilter(MANIFEST, clock=lambda: NOW)
    keeper.on_verified = watch.note_heard
    with caplog.at_level(logging.WARNING):
        for _ in range(3):  # as often as it is heard, from the DHT and with fetches
            keeper.admit(announce(who, digest=digest, created=created, expires=created + 300).encode())
    assert watch.foreign == foreign
    assert caplog.text.count("this node's key runs elsewhere too") == foreign


def test_a_forged_announcement_is_nobodys() -> None:
    watch = KeyWatch(ALICE.peer_id, NOW - 10)
    keeper = AnnouncementFilter(MANIFEST, clock=lambda: NOW)
    keeper.on_verified = watch.note_heard
    forged = bytes(64) + announce(ALICE, digest=OTHER).encode()[64:]
    with pytest.raises(AnnouncementRefused, match="signature"):
        keeper.admit(forged)
    assert watch.foreign == 0
