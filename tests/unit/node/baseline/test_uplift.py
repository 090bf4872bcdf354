"""A node against its silo baseline: when compute is equal, and how sure the difference is."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sample_events import ROUND

from node.baseline.equal_compute import rounds_to_even
from node.baseline.uplift import Point, compare, compare_early, evaluations_by_cpu
from node.config.roles import as_silo
from node.config.schema import parse_config
from node.storage.events import EvaluationEvent, History, RoundEvent, Store


def rounds(count: int, seconds: float) -> list[RoundEvent]:
    return [replace(ROUND, round=number, cpu_seconds=seconds) for number in range(1, count + 1)]


def history(path: Path, count: int, seconds: float, *rewards: float) -> History:
    """A run of `count` rounds that was evaluations_by_cpu at its start and, with a second reward, at its end."""
    with closing(Store(path)) as store:
        store.append(*rounds(count, seconds))
        store.append(*(EvaluationEvent(place * count, reward, {}) for place, reward in enumerate(rewards)))
    return History(path)


@pytest.mark.parametrize(
    ("played", "seconds", "wanted"),
    [
        (rounds(10, 1.0), 10.0, None),
        (rounds(10, 1.0), 9.0, None),
        (rounds(10, 1.0), 15.0, 15),
        (rounds(10, 2.0), 21.0, 11),  # a part of a round is a round
        ([], 5.0, None),
    ],
)
def test_a_baseline_goes_on_until_it_has_had_its_nodes_seconds(
    played: list[RoundEvent], seconds: float, wanted: int | None
) -> None:
    assert rounds_to_even(played, seconds) == wanted


def test_the_interval_is_that_of_two_independent_shares(tmp_path: Path) -> None:
    own, baseline = (
        history(tmp_path / "own", 4, 2.0, 0.1, 0.6),
        history(tmp_path / "baseline", 8, 1.0, 0.1, 0.4),
    )
    uplift = compare(own, baseline, answers=120)
    assert uplift is not None
    reach = 1.959964 * math.sqrt(0.24 / 120 + 0.24 / 120)
    assert uplift.gain == pytest.approx(0.2)
    assert (uplift.low, uplift.high) == (pytest.approx(0.2 - reach), pytest.approx(0.2 + reach))
    assert uplift.cpu_seconds == uplift.baseline_cpu_seconds == 8.0
    assert "+0.200 (95% interval +0.076 to +0.324)" in uplift.summary


def test_compute_is_counted_up_to_the_evaluations_that_are_compared(tmp_path: Path) -> None:
    own, baseline = (
        history(tmp_path / "own", 4, 2.0, 0.1, 0.6),
        history(tmp_path / "baseline", 8, 1.0, 0.1, 0.4),
    )
    with closing(Store(tmp_path / "baseline")) as store:
        store.append(replace(ROUND, round=9, cpu_seconds=5.0))
    uplift = compare(own, baseline, answers=120)
    assert uplift is not None and uplift.baseline_cpu_seconds == 8.0


def test_an_early_comparison_waits_for_both_to_be_judged_after_their_start(tmp_path: Path) -> None:
    own, started = history(tmp_path / "own", 4, 2.0, 0.1, 0.6), history(tmp_path / "baseline", 3, 1.0, 0.1)
    assert compare_early(own, started, answers=120) is None
    behind = history(tmp_path / "behind", 3, 1.0, 0.1, 0.4)
    early = compare_early(own, behind, answers=120)
    assert early is not None and (early.cpu_seconds, early.baseline_cpu_seconds) == (8.0, 3.0)
    with closing(Store(tmp_path / "own")) as store:
        store.append(EvaluationEvent(1, 0.3, {}))  # nearer to the baseline's compute
    early = compare_early(own, behind, answers=120)
    assert early is not None and (early.own, early.cpu_seconds, early.baseline_cpu_seconds) == (0.3, 2.0, 3.0)


def test_an_evaluation_of_a_round_that_is_not_read_yet_stands_at_the_last_known_second(
    tmp_path: Path,
) -> None:
    run = history(tmp_path / "run", 2, 1.5, 0.1, 0.2)
    with closing(Store(tmp_path / "run")) as store:
        store.append(EvaluationEvent(9, 0.3, {}))
    assert evaluations_by_cpu(run) == [Point(0, 0.0, 0.1), Point(2, 3.0, 0.2), Point(9, 3.0, 0.3)]


def test_without_an_evaluation_there_is_nothing_to_compare(tmp_path: Path) -> None:
    own = history(tmp_path / "own", 4, 2.0, 0.6)
    assert compare(own, history(tmp_path / "baseline", 4, 2.0), answers=120) is None
    assert compare(own, own, answers=0) is None


def test_a_baseline_differs_from_its_node_by_having_no_peers() -> None:
    sampler = {"local": 4, "external": 4}
    config = parse_config(
        {"tasks": [{"name": "sort"}], "silo_baseline": True, "swarm": {"type": "dht"}, "sampler": sampler}
    )
    silo = as_silo(config)
    assert (silo.sampler.local, silo.sampler.external, silo.swarm.type) == (8, 0, "silo")
    assert silo.model_dump(exclude={"sampler", "swarm"}) == config.model_dump(exclude={"sampler", "swarm"})
