"""Anchored mixing: who enters a mixed group, and what each of its rollouts is worth."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from fakes import ALICE, Addition, group

from policies.rollout import Finish, Group, Rollout, Segment, TrainGroup
from swarm.mixing import Mixed, mix, parted
from swarm.pool import Pool
from swarm.sampler import Batch, Mix, draw_batch

PROBLEM = Addition().problem(1)


def rewarded(rewards: Sequence[float], origin: str | None = None) -> Group:
    """Rollouts of different texts and given rewards."""
    rollouts = tuple(
        Rollout(f"{origin} {number}", (Segment(0, (number,)),), Finish.STOP, reward)
        for number, reward in enumerate(rewards)
    )
    return Group(PROBLEM, rollouts, origin)


def mixed(own: Sequence[float], external: Sequence[float], guests: int, seed: int = 0) -> Mixed:
    return mix(rewarded(own), rewarded(external, ALICE), guests, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("own", "external", "guests", "of_own", "of_external"),
    [
        # One of four own right: three right and one wrong guest make it half and half.
        ([1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0], 4, [0.5, -0.5, -0.5, -0.5], [-0.5, 0.5, 0.5, 0.5]),
        ([0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0], 4, [-0.5] * 4, [0.5] * 4),
        # Only one right guest to be had: mean 1/8.
        ([0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0], 4, [-0.125] * 4, [-0.125] * 3 + [0.875]),
        ([1, 1, 1, 1], [1, 0], 1, [0.2] * 4, [-0.8]),
        # One in eight, mean 1/8.
        ([0] * 7, [1, 0, 1, 0], 1, [-0.125] * 7, [0.875]),
        # 0.25 and 0.5 own; 0 and 1 lie further out than 0.25 and 0.75: mean 7/16.
        ([0.25, 0.5], [0.25, 1.0, 0.75, 0.0], 2, [-0.1875, 0.0625], [-0.4375, 0.5625]),
    ],
)  # fmt: skip
def test_advantages_by_hand(
    own: list[float], external: list[float], guests: int, of_own: list[float], of_external: list[float]
) -> None:
    mine, theirs = mixed(own, external, guests).parts()
    assert (mine.group.origin, theirs.group.origin) == (None, ALICE)
    assert mine.advantages == pytest.approx(of_own)
    assert sorted(theirs.advantages) == pytest.approx(of_external)


def test_the_guests_are_those_of_most_variance() -> None:
    """Against all subsets, of rewards with ties and without."""
    generator = np.random.default_rng(0)
    for _ in range(200):
        own = list(generator.integers(0, 5, size=generator.integers(1, 6)) / 4)
        external = list(generator.integers(0, 5, size=generator.integers(1, 8)) / 4)
        guests = int(generator.integers(1, 6))
        count = min(guests, len(own), len(external))
        best = max(statistics.pvariance([*own, *few]) for few in combinations(external, count))
        found = mixed(own, external, guests)
        assert statistics.pvariance(found.whole.rewards) == pytest.approx(best)
        assert len(found.external.rollouts) == count


def test_half_of_a_group_is_own_whatever_a_peer_sends() -> None:
    for own, sent, guests in [(4, 512, 4), (1, 8, 4), (4, 2, 4), (7, 8, 1)]:
        found = mixed([0.0] * own, [1.0] * sent, guests)
        assert len(found.external.rollouts) <= min(guests, len(found.own.rollouts))
        assert len(found.own.rollouts) == own


def test_a_signal_stays_a_signal() -> None:
    """Whatever the own rewards are, equal ones among them: some external rollout differs, and enters."""
    for own in ([0.0] * 4, [1.0] * 4, [0.5] * 4, [1.0, 0.0, 0.0, 0.0]):
        for guests in (1, 4):
            assert not mixed(own, [0.0] * 7 + [1.0], guests).whole.zero_advantage


def test_equal_rewards_all_round_push_nothing() -> None:
    parts = mixed([1.0] * 4, [1.0] * 8, 4).parts()
    assert {value for part in parts for value in part.advantages} == {0.0}


def test_a_peer_gains_nothing_by_the_order_of_its_rollouts() -> None:
    drawn: Counter[str] = Counter()
    for seed in range(400):
        drawn.update(r.text for r in mixed([0.0] * 4, [1.0] * 8, 1, seed).external.rollouts)
    # Binomial(400, 1/8) for each of the eight: five standard deviations are 33.
    assert len(drawn) == 8
    assert all(abs(count - 50) < 33 for count in drawn.values())
    texts = [[r.text for r in mixed([0.0] * 4, [1.0] * 8, 2, seed=5).external.rollouts] for _ in range(2)]
    assert texts[0] == texts[1]


def test_groups_of_two_problems_or_of_the_wrong_side_are_refused() -> None:
    generator = np.random.default_rng(0)
    for own, external in [
        (group(1), group(2, origin=ALICE)),
        (group(1), group(1)),
        (group(1, origin=ALICE), group(1, origin=ALICE)),
    ]:
        with pytest.raises(ValueError, match="one problem"):
            mix(own, external, 1, generator)
    unscored = Group(PROBLEM, (Rollout("x", (), Finish.STOP),), ALICE)
    with pytest.raises(ValueError, match="scored"):
        mix(rewarded([0.0]), unscored, 1, generator)


def test_a_batch_gives_wholes_to_the_strategy_and_parts_to_the_policy() -> None:
    one, other = mixed([0, 0], [1, 1], 2), mixed([1, 1], [0, 1], 1)
    batch = Batch((group(9),), (one.external, other.external), short=0, mixed=(one, other))
    assert [len(g.rollouts) for g in batch.groups] == [2, 4, 3]
    assert batch.anchors == (one.own, other.own)
    # Whatever a strategy made of the wholes, here zeros: their parts have plain advantages.
    members = [TrainGroup(g, (0.0,) * len(g.rollouts)) for g in batch.groups]
    parts = parted(members, batch.mixed)
    assert parts[0] is members[0]
    assert [part.group.origin for part in parts] == [None, None, ALICE, None, ALICE]
    assert [sum(map(abs, part.advantages)) for part in parts] == pytest.approx([0.0, 1.0, 1.0, 2 / 3, 2 / 3])
    assert parted(members, ()) == members


def test_without_anchors_a_batch_is_as_drawn() -> None:
    pool = Pool()
    pool.add(group(1, origin=ALICE), created=0.0)
    batch = draw_batch([group(2)], pool, Mix(1, 1), np.random.default_rng(0), now=1.0)
    assert batch.groups == batch.own + batch.external
    assert batch.anchors == ()
