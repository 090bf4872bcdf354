"""Which external groups an update takes: one test of its law for each way of drawing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from fakes import ALICE, BOB, MALLORY, group

from swarm.sampling.group_selection import Candidate, Select, uniform_over_groups, uniform_over_peers


def first_drawn(waiting: Sequence[Candidate], select: Select, times: int = 600) -> Counter[int]:
    drawn = [select(waiting, 1, np.random.default_rng(seed)) for seed in range(times)]
    return Counter(places[0] for places in drawn if places)


LOUD = [Candidate(MALLORY, group(seed, origin=MALLORY)) for seed in range(9)]
QUIET = [Candidate(ALICE, group(20, origin=ALICE)), Candidate(BOB, group(21, origin=BOB))]


@pytest.mark.parametrize("select", [uniform_over_groups, uniform_over_peers])
@pytest.mark.parametrize("count", [0, 1, 4, 11, 50])
def test_every_draw_gives_different_places_and_as_many_as_there_are(select: Select, count: int) -> None:
    places = select([*LOUD, *QUIET], count, np.random.default_rng(count))
    assert len(places) == len(set(places)) == min(count, 11)
    assert set(places) <= set(range(11))
    assert select([], count, np.random.default_rng(0)) == []


def test_a_second_turn_over_the_peers_gives_no_more_than_is_left_to_give() -> None:
    waiting = [Candidate(peer, group(seed, origin=peer)) for peer in (ALICE, BOB) for seed in range(3)]
    places = uniform_over_peers(waiting, 3, np.random.default_rng(0))
    assert sorted(Counter(waiting[place].peer for place in places).values()) == [1, 2]


def test_uniform_follows_groups_and_by_peer_follows_peers() -> None:
    # Binomial(600, p): five standard deviations are 48 for 9/11 and 58 for 1/3.
    by_groups, by_peers = (
        first_drawn([*LOUD, *QUIET], select) for select in (uniform_over_groups, uniform_over_peers)
    )
    assert abs(sum(by_groups[place] for place in range(9)) - 600 * 9 / 11) < 48
    assert abs(sum(by_peers[place] for place in range(9)) - 200) < 58
