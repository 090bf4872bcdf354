"""Own right answers are the measure of what peers' are worth, task by task."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.direction import SKETCH, Direction
from swarm.admission.usefulness import KEPT, OwnDirections


def way(seed: int) -> Direction:
    """Of length 1; two of them hardly meet."""
    drawn = np.random.default_rng(seed).normal(size=SKETCH)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def test_the_same_way_is_one_the_opposite_minus_one_and_another_nearly_nothing() -> None:
    friend, foe, other = OwnDirections().compare(
        [("walk", way(1))], [("walk", way(1)), ("walk", -way(1)), ("walk", way(2))]
    )
    assert (friend, foe) == (pytest.approx(1.0), pytest.approx(-1.0))
    assert other is not None and abs(other) < 0.1


def test_a_task_is_judged_by_its_own_right_answers_alone() -> None:
    directions = OwnDirections()
    assert directions.compare([("walk", way(1))], [("sort", way(1))]) == [None]
    assert directions.compare([("sort", way(2))], [("sort", way(2)), ("walk", way(1))]) == [
        pytest.approx(1.0),
        pytest.approx(1.0),
    ]


def test_what_was_met_before_counts_less_and_all_own_groups_count_alike() -> None:
    directions, found = OwnDirections(), way(1)
    directions.compare([("walk", way(2))], [])
    [cosine] = directions.compare([("walk", found)], [("walk", found)])
    assert cosine == pytest.approx(1.0 / np.hypot(1.0, KEPT), abs=0.05)


def test_nothing_is_said_before_an_own_right_answer_or_where_they_cancel() -> None:
    directions = OwnDirections()
    assert directions.compare([], [("walk", way(1))]) == [None]
    assert directions.compare([("walk", way(1)), ("walk", -way(1))], [("walk", way(1))]) == [None]


def test_a_restart_changes_nothing() -> None:
    before, after = OwnDirections(), OwnDirections()
    before.compare([("walk", way(1)), ("sort", way(2))], [])
    after.restore(json.loads(json.dumps(before.snapshot())))
    own, theirs = [("walk", way(3))], [("walk", way(1)), ("sort", way(2))]
    assert before.compare(own, theirs) == after.compare(own, theirs)


def test_sums_of_another_size_are_begun_anew() -> None:
    directions = OwnDirections()
    directions.restore({"walk": "AAAAAA=="})
    assert directions.snapshot() == {}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.booleans()), max_size=30))
def test_what_peers_send_never_moves_the_measure(given: list[tuple[str, int, bool]]) -> None:
    own = [(task, way(seed)) for task, seed, mine in given if mine]
    theirs = [(task, way(seed)) for task, seed, mine in given if not mine]
    beside, alone = OwnDirections(), OwnDirections()
    cosines = beside.compare(own, theirs)
    alone.compare(own, [])
    assert beside.snapshot() == alone.snapshot() and len(cosines) == len(theirs)
    assert all(cosine is None or -1.0 <= cosine <= 1.0 for cosine in cosines)
