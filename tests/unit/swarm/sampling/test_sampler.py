"""SAPO's draw."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from fakes import ALICE, BOB, group

from swarm.sampling.external_pool import ExternalPool
from swarm.sampling.sampler import Mix, draw_batch

OWN = [group(seed) for seed in range(10, 18)]


def pool_of(count: int) -> ExternalPool:
    pool = ExternalPool()
    for seed in range(count):
        pool.add(group(seed, origin=ALICE if seed % 2 else BOB), created=0.0)
    return pool


@pytest.mark.parametrize(
    ("there", "mix", "own", "external", "short"),
    [
        (9, Mix(4, 4), 4, 4, 0),
        (1, Mix(4, 4), 7, 1, 3),  # own groups fill the places of the missing
        (0, Mix(4, 4), 8, 0, 4),
        (0, Mix(6, 6), 8, 0, 6),  # as far as there are any
        (9, Mix(8, 0), 8, 0, 0),
        (9, Mix(0, 4), 0, 4, 0),
        (0, Mix(0, 0), 0, 0, 0),
    ],
)
def test_the_sizes_of_a_batch(there: int, mix: Mix, own: int, external: int, short: int) -> None:
    pool = pool_of(there)
    batch = draw_batch(OWN, pool, mix, np.random.default_rng(0), now=1.0)
    assert (len(batch.own), len(batch.external), batch.short) == (own, external, short)
    assert len(pool) == there - external
    assert batch.groups == batch.own + batch.external


def test_nothing_enters_twice() -> None:
    for seed in range(50):
        batch = draw_batch(OWN, pool_of(6), Mix(5, 5), np.random.default_rng(seed), now=1.0)
        assert len({(g.origin, g.problem.seed) for g in batch.groups}) == 10


def test_no_own_groups_leave_the_peers_alone() -> None:
    batch = draw_batch([], pool_of(4), Mix(2, 2), np.random.default_rng(0), now=1.0)
    assert (batch.own, len(batch.external)) == ((), 2)


def test_the_mix_says_how_external_groups_are_chosen() -> None:
    mix = Mix(0, 2, lambda waiting, count, generator: [len(waiting) - 1])
    batch = draw_batch([], pool_of(5), mix, np.random.default_rng(0), now=1.0)
    assert [(g.origin, g.problem.seed) for g in batch.external] == [(BOB, 4)]
    assert batch.short == 1


def test_own_groups_are_drawn_uniformly() -> None:
    drawn: Counter[int] = Counter()
    for seed in range(400):
        batch = draw_batch(OWN, ExternalPool(), Mix(2, 0), np.random.default_rng(seed), now=1.0)
        drawn.update(g.problem.seed for g in batch.own)
    # Binomial(400, 1/4) for each of the eight: five standard deviations are 43.
    assert sorted(drawn) == list(range(10, 18))
    assert all(abs(count - 100) < 43 for count in drawn.values())
