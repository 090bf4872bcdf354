"""The pool: caps, ages and a draw that is fair to peers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from fakes import ALICE, BOB, MALLORY, group
from imagery import grey, image_group

from swarm.sampling.external_pool import ExternalPool, PoolSettings


def filled(counts: dict[str, int], settings: PoolSettings = PoolSettings(max_age=100)) -> ExternalPool:  # noqa: B008
    pool = ExternalPool(settings)
    for peer, count in counts.items():
        for seed in range(count):
            pool.add(group(seed, origin=peer), created=float(seed))
    return pool


def seeds(pool: ExternalPool, peer: str) -> set[int]:
    drawn = pool.draw(1000, np.random.default_rng(0), now=0.0)
    return {g.problem.seed for g in drawn if g.origin == peer}


def test_nothing_is_handed_out_twice() -> None:
    pool = filled({ALICE: 5, BOB: 3})
    generator = np.random.default_rng(0)
    drawn = [*pool.draw(3, generator, 50.0), *pool.draw(3, generator, 50.0), *pool.draw(9, generator, 50.0)]
    assert len(drawn) == 8
    assert len({(g.origin, g.problem.seed) for g in drawn}) == 8
    assert len(pool) == 0
    assert pool.draw(1, generator, 50.0) == ()


def test_a_loud_peer_is_drawn_no_more_than_a_quiet_one() -> None:
    drawn: Counter[str | None] = Counter()
    for seed in range(600):
        pool = filled({ALICE: 1, BOB: 2, MALLORY: 30})
        drawn.update(g.origin for g in pool.draw(1, np.random.default_rng(seed), 50.0))
    # Binomial(600, 1/3): five standard deviations are 58.
    assert all(abs(drawn[peer] - 200) < 58 for peer in (ALICE, BOB, MALLORY))


def test_every_peer_gives_one_before_any_gives_two() -> None:
    for seed in range(20):
        drawn = filled({ALICE: 1, BOB: 5, MALLORY: 30}).draw(5, np.random.default_rng(seed), 50.0)
        assert Counter(g.origin for g in drawn) == {ALICE: 1, BOB: 2, MALLORY: 2}


def test_which_group_of_a_peer_is_uniform_too() -> None:
    drawn = Counter(
        filled({ALICE: 4}).draw(1, np.random.default_rng(seed), 50.0)[0].problem.seed for seed in range(400)
    )
    # Binomial(400, 1/4): five standard deviations are 43.
    assert sorted(drawn) == [0, 1, 2, 3]
    assert all(abs(count - 100) < 43 for count in drawn.values())


def test_equal_generators_draw_equally() -> None:
    first, second = (filled({ALICE: 9, BOB: 9}).draw(6, np.random.default_rng(3), 50.0) for _ in range(2))
    assert first == second


def test_a_full_peer_loses_its_own_oldest() -> None:
    pool = filled({ALICE: 5, BOB: 2}, PoolSettings(per_peer=3, max_age=100))
    assert pool.counts() == {ALICE: 3, BOB: 2}
    assert seeds(pool, ALICE) == {2, 3, 4}


def test_a_full_pool_loses_the_oldest_of_its_largest_peer() -> None:
    pool = filled({ALICE: 2, MALLORY: 10}, PoolSettings(per_peer=10, total=6, max_age=100))
    assert pool.counts() == {ALICE: 2, MALLORY: 4}
    assert seeds(pool, MALLORY) == {6, 7, 8, 9}


def test_images_beyond_the_room_for_them_push_out_the_oldest_of_whoever_has_most() -> None:
    pool = ExternalPool(PoolSettings(pixels=5 * 64, max_age=100))
    for peer, seed in ((ALICE, 0), (ALICE, 1), (BOB, 2)):  # two images of 64 bytes each
        made = image_group(seed, [grey(10), grey(200)])
        pool.add(replace(made, origin=peer), created=float(seed))
    assert pool.counts() == {ALICE: 1, BOB: 1} and seeds(pool, ALICE) == {1}


def test_the_oldest_goes_by_its_announcement_and_not_by_its_arrival() -> None:
    for arrivals in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        full_peer = ExternalPool(PoolSettings(per_peer=2))
        full_pool = ExternalPool(PoolSettings(total=2))
        for age in arrivals:
            for pool in (full_peer, full_pool):
                pool.add(group(age, origin=ALICE), created=float(age))
        assert seeds(full_peer, ALICE) == seeds(full_pool, ALICE) == {2, 3}


@pytest.mark.parametrize(("now", "kept"), [(13.0, {3, 4}), (13.001, {4}), (14.0, {4}), (14.001, set())])
def test_the_maximum_age_is_the_last_at_which_a_group_is_kept(now: float, kept: set[int]) -> None:
    pool = filled({ALICE: 5}, PoolSettings(max_age=10))
    pool.expire(now)
    assert seeds(pool, ALICE) == kept


def test_nothing_beyond_the_maximum_age_is_drawn_or_kept() -> None:
    pool = filled({ALICE: 5}, PoolSettings(max_age=10))
    assert {g.problem.seed for g in pool.draw(2, np.random.default_rng(0), now=13.0)} == {3, 4}
    pool = filled({ALICE: 5}, PoolSettings(max_age=10))
    pool.expire(now=12.0)
    assert len(pool) == 3
    pool.expire(now=3600.0)
    assert pool.counts() == {}


def test_own_groups_and_groups_without_a_signal_are_not_taken() -> None:
    for unfit in (group(1), group(1, ["it is 2", "surely 2"], origin=ALICE)):
        with pytest.raises(ValueError, match="external groups with a trainable signal"):
            ExternalPool().add(unfit, created=0.0)


def test_a_pool_comes_back_through_json() -> None:
    pool, restored = filled({ALICE: 3, BOB: 2}), filled({MALLORY: 4})
    restored.restore(json.loads(json.dumps(pool.snapshot())))
    assert restored.counts() == pool.counts()
    assert restored.draw(9, np.random.default_rng(1), 50.0) == pool.draw(9, np.random.default_rng(1), 50.0)


def test_a_large_group_is_cut_to_the_size_of_an_own_one() -> None:
    pool = ExternalPool(PoolSettings(group_size=4))
    pool.add(group(1, ["1", "2"] * 500, origin=MALLORY), created=0.0)
    (kept,) = pool.draw(1, np.random.default_rng(0), now=0.0)
    assert len(kept.rollouts) == 4
    assert len(set(kept.rewards)) == 2
