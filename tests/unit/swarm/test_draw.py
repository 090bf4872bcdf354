"""Which external groups an update takes: one test of its law for each way of drawing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fakes import ALICE, BOB, MALLORY, Addition, group

from policies.rollout import Group
from swarm.draw import (
    LEAST_WORTH,
    MEMORY,
    Choose,
    Waiting,
    by_peer,
    by_worth,
    followed,
    uniform,
    worth,
)
from swarm.pool import Pool, PoolSettings

TASK = Addition.name


def solved(seed: int, origin: str | None = None) -> Group:
    return group(seed, [f"it is {seed + 1}", f"that makes {seed + 1}"], origin)


def hopeless(seed: int, origin: str | None = None) -> Group:
    return group(seed, ["no idea", "none at all"], origin)


def of_task(task: str, one: Group) -> Group:
    return replace(one, problem=replace(one.problem, task=task))


def first_drawn(waiting: Sequence[Waiting], choose: Choose, times: int = 600) -> Counter[int]:
    drawn = [choose(waiting, 1, np.random.default_rng(seed)) for seed in range(times)]
    return Counter(places[0] for places in drawn if places)


LOUD = [Waiting(MALLORY, group(seed, origin=MALLORY)) for seed in range(9)]
QUIET = [Waiting(ALICE, group(20, origin=ALICE)), Waiting(BOB, group(21, origin=BOB))]


@pytest.mark.parametrize("choose", [by_peer, uniform, by_worth({})])
@pytest.mark.parametrize("count", [0, 1, 4, 11, 50])
def test_every_draw_gives_different_places_and_as_many_as_there_are(choose: Choose, count: int) -> None:
    places = choose([*LOUD, *QUIET], count, np.random.default_rng(count))
    assert len(places) == len(set(places)) == min(count, 11)
    assert set(places) <= set(range(11))
    assert choose([], count, np.random.default_rng(0)) == []


def test_uniform_follows_groups_and_by_peer_follows_peers() -> None:
    # Binomial(600, p): five standard deviations are 48 for 9/11 and 58 for 1/3.
    by_groups, by_peers = (first_drawn([*LOUD, *QUIET], choose) for choose in (uniform, by_peer))
    assert abs(sum(by_groups[place] for place in range(9)) - 600 * 9 / 11) < 48
    assert abs(sum(by_peers[place] for place in range(9)) - 200) < 58


def test_a_peer_that_sends_more_has_no_more_weight() -> None:
    drawn = first_drawn([*LOUD, *QUIET], by_worth({}))
    assert abs(sum(drawn[place] for place in range(9)) - 200) < 58


def test_worth_is_what_rollouts_are_better_by_than_the_own_policy() -> None:
    half = group(1)  # rewards 1 and 0.25
    assert worth(half, {}) == pytest.approx(0.625)
    assert worth(half, {TASK: 0.5}) == pytest.approx(0.25)
    assert worth(solved(1), {TASK: 0.9}) == pytest.approx(0.1)
    assert worth(hopeless(1), {}) == 0.0
    assert worth(solved(1), {TASK: 1.0}) == 0.0


def test_the_hopeless_and_the_trivial_are_not_drawn() -> None:
    mastered = of_task("mastered@1", solved(1, BOB))
    waiting = [
        Waiting(ALICE, hopeless(1, ALICE)),
        Waiting(BOB, mastered),
        Waiting(MALLORY, solved(2, MALLORY)),
    ]
    choose = by_worth({"mastered@1": 1.0 - LEAST_WORTH / 2, TASK: 0.2})
    assert choose(waiting, 3, np.random.default_rng(0)) == [2]


def test_a_group_is_drawn_in_proportion_to_its_worth() -> None:
    known = of_task("known@1", solved(1, ALICE))
    waiting = [Waiting(ALICE, known), Waiting(BOB, solved(2, BOB))]
    drawn = first_drawn(waiting, by_worth({"known@1": 0.75}))
    assert abs(drawn[0] - 600 / 5) < 50  # 0.25 against 1


def test_rates_follow_the_own_groups_and_forget() -> None:
    rates = followed({}, [solved(1)])
    assert rates == {TASK: 1.0}
    assert followed(rates, [hopeless(2)])[TASK] == pytest.approx(1.0 - 1.0 / MEMORY)
    assert followed(rates, map(hopeless, range(60)))[TASK] < 0.001
    assert rates == {TASK: 1.0}  # as it was


def test_the_pool_takes_solved_groups_only_where_they_are_wanted() -> None:
    plain, eager = Pool(), Pool(PoolSettings(solved=True))
    assert not plain.takes(solved(1, ALICE))
    with pytest.raises(ValueError, match="signal"):
        plain.add(solved(1, ALICE), 0.0)
    assert eager.takes(solved(1, ALICE))
    assert not eager.takes(hopeless(1, ALICE))
    eager.add(solved(1, ALICE), 0.0)
    assert len(eager) == 1
