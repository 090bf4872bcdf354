"""One announcement of every live publisher in every epoch, and no more than that."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from announcing import MANIFEST, NOW, announce

from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementRefused
from swarm.discovery.republish import draw_phase, is_due, next_moment, republished
from swarm.wire.announcement import shard_of
from swarm.wire.identity import Identity

ALICE = Identity(bytes(32))
LENGTH = MANIFEST.epoch_seconds
NEXT = (NOW // LENGTH + 1) * LENGTH  # when the epoch after NOW's begins
PHASE = 0.8


def due(at: float, **changes: float) -> bool:
    return is_due(announce(ALICE, **changes), at, LENGTH, PHASE)


def test_a_node_with_nothing_new_renews_late_in_the_next_epoch() -> None:
    moments = [NOW, NEXT - 0.1, NEXT, NEXT + 0.79 * LENGTH, NEXT + 0.81 * LENGTH, NEXT + LENGTH - 0.1]
    assert [due(moment) for moment in moments] == [False, False, False, False, True, True]


def test_the_moments_to_look_are_once_an_epoch_and_a_renewal_is_due_then() -> None:
    moment, moments = NOW, []
    for _ in range(4):
        moment = next_moment(moment, LENGTH, PHASE)
        moments.append(moment)
    first = NOW // LENGTH * LENGTH + PHASE * LENGTH
    assert moments == pytest.approx([first + number * LENGTH for number in range(4)])
    assert [due(moment) for moment in moments] == [False, True, True, True]


def test_what_has_expired_is_not_renewed() -> None:
    at = NEXT + 0.9 * LENGTH
    assert due(at, expires=at + 1.0) and not due(at, expires=at)


def test_an_unsharded_swarm_renews_nothing() -> None:
    assert not is_due(replace(announce(ALICE), depth=0, shard=0), NEXT + 0.9 * LENGTH, LENGTH, PHASE)


def test_renewal_moves_an_announcement_to_its_shard_of_the_epoch_and_changes_nothing_else() -> None:
    old = announce(ALICE)
    now = NEXT + 0.9 * LENGTH
    new = republished(old, now, LENGTH)
    assert (new.epoch, new.shard) == (old.epoch + 1, shard_of(ALICE.peer_id, old.epoch + 1, old.depth))
    assert replace(new, epoch=old.epoch, shard=old.shard) == old
    assert not is_due(new, now, LENGTH, PHASE)


def test_phases_lie_late_in_an_epoch_and_apart() -> None:
    phases = [draw_phase(random.Random(seed)) for seed in range(20)]
    assert all(0.75 <= phase <= 0.9 for phase in phases)
    assert max(phases) - min(phases) > 0.1


@pytest.mark.parametrize(
    ("at", "epochs_later", "admitted"),
    [
        (NOW + LENGTH, 1, True),
        (NOW + 5 * LENGTH, 1, True),  # what passed once passes later too
        (NOW + LENGTH, 3, False),  # an epoch that has not begun
        (NOW + 100 * LENGTH, 11, False),  # it had expired by then
        (NOW + LENGTH, -1, False),  # it was not made yet
    ],
)
def test_the_gate_admits_one_place_in_each_epoch_of_an_announcements_life(
    at: float, epochs_later: int, admitted: bool
) -> None:
    announcement_filter = AnnouncementFilter(MANIFEST, lambda: at)
    raw = republished(announce(ALICE), NOW + epochs_later * LENGTH, LENGTH).sign(ALICE).encode()
    if admitted:
        assert announcement_filter.admit(raw).created == NOW
    else:
        with pytest.raises(AnnouncementRefused, match="epoch"):
            announcement_filter.admit(raw)
