"""The faults benchmark: from made-up events to its rows and checks, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from node.bench.faults import run
from node.bench.faults.report import LONGEST_GAP, RECOVERY_SECONDS, FaultOutcome, NodeRecord, checks
from node.bench.faults.run import _prepare_weights
from node.bench.faults.swarm import SEED
from node.bench.kit.options import BenchError, BenchOptions
from node.bench.netlab import kernel

# Peace from 0 to 20, the fault from 20 to 50, all over at 80. Rounds of 2 s, with one of 6 s at bob.
ALICE = NodeRecord(
    "alice",
    rounds=tuple(float(at) for at in range(1, 80, 2)),
    deliveries=((5.0, "bob", 4), (51.0, "bob", 0), (55.0, "bob", 3), (60.0, "bob", 2)),
    trained=(("12D3bob", "sort@1", 1), ("12D3bob", "sort@1", 2)),
    replays=1,
)
BOB = NodeRecord(
    "bob",
    rounds=(*map(float, range(2, 22, 2)), *map(float, range(26, 80, 2))),
    deliveries=((10.0, "alice", 1), (30.0, "carol", 5), (52.5, "alice", 1)),
    trained=(("12D3alice", "sort@1", 1),),
    replays=0,
)
CAROL = NodeRecord("carol", rounds=(1.0, 3.0), deliveries=(), trained=(), replays=0)
OUTCOME = FaultOutcome(
    case="partition",
    begun=0.0,
    struck=20.0,
    mended=50.0,
    ended=80.0,
    records=(ALICE, BOB, CAROL),
    victims=frozenset({"carol"}),
    across=frozenset({("alice", "bob"), ("bob", "alice")}),
    left_over=0,
)


def held(outcome: FaultOutcome, left_over: int = 0) -> dict[str, bool]:
    return {check.name: check.holds for check in checks([OUTCOME, outcome], left_over)}


def test_a_row_counts_before_during_and_after() -> None:
    assert OUTCOME.row() == {
        "case": "partition",
        "before_s": 20.0,
        "during_s": 30.0,
        "after_s": 30.0,
        "rounds_before": 19,
        "rounds_during": 28,
        "rounds_after": 30,
        "received_before": 5,
        "received_during": 5,
        "received_after": 6,
        "across_before": 5,
        "across_during": 0,
        "across_after": 6,
        "median_round_s": 2.0,
        "longest_gap": 3.0,
        "recovery_s": 5.0,
        "trained_twice": 0,
        "replays": 1,
        "left_over": 0,
    }
    assert set(held(OUTCOME).values()) == {True}


def test_a_survivor_that_stops_training_fails_the_check() -> None:
    stopped = replace(BOB, rounds=tuple(at for at in BOB.rounds if at < 60))
    outcome = replace(OUTCOME, records=(ALICE, stopped))
    assert outcome.longest_gap == 11.0 > LONGEST_GAP
    assert not held(outcome)["training_never_stops"]
    idle = replace(OUTCOME, records=(ALICE, replace(BOB, rounds=(2.0,))))
    assert math.isinf(idle.longest_gap)


def test_a_killed_node_may_stop() -> None:
    assert replace(OUTCOME, victims=frozenset({"bob", "carol"})).longest_gap == 1.0


def test_the_slowest_receiver_says_when_delivery_recovered() -> None:
    assert OUTCOME.recovery == 5.0  # alice: nothing came at 51; bob was faster
    silent = replace(OUTCOME, records=(ALICE, replace(BOB, deliveries=((70.0, "carol", 5),))))
    assert math.isinf(silent.recovery) and silent.row()["recovery_s"] is None
    assert not held(silent)["delivery_recovers"]
    late = replace(OUTCOME, ended=200.0, records=(replace(ALICE, deliveries=((111.0, "bob", 1),)), BOB))
    assert late.recovery == 61.0 > RECOVERY_SECONDS and not held(late)["delivery_recovers"]


def test_a_group_trained_on_twice_fails_the_check() -> None:
    twice = replace(ALICE, trained=(*ALICE.trained, ("12D3bob", "sort@1", 2)))
    outcome = replace(OUTCOME, records=(twice, BOB))
    assert outcome.trained_twice == 1
    assert not held(outcome)["trained_twice"]


def test_a_process_that_outlives_its_node_or_the_benchmark_fails_the_check() -> None:
    assert not held(replace(OUTCOME, left_over=1))["left_over"]
    assert not held(OUTCOME, left_over=2)["left_over"]


def test_nothing_measured_is_nothing_claimed() -> None:
    assert checks([], 0) == []


def test_an_unknown_case_is_refused_before_anything_is_started() -> None:
    with pytest.raises(BenchError, match="did you mean 'partition'"):
        run.run(BenchOptions(cases=("partitions",)), pytest.fail)


def test_a_machine_that_cannot_hold_the_lab_is_told_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kernel.os, "geteuid", lambda: 1000)
    with pytest.raises(BenchError, match="need root: run it with sudo"):
        run.run(BenchOptions(cases=("loss",)), pytest.fail)
    monkeypatch.setattr(kernel.os, "geteuid", lambda: 0)
    monkeypatch.setattr(kernel.shutil, "which", lambda tool: None)
    with pytest.raises(BenchError, match="apt-get install iproute2"):
        run.run(BenchOptions(cases=("loss",)), pytest.fail)


def test_starting_weights_are_made_with_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config without one is refused: a policy's randomness derives from it."""
    seeds: list[int] = []
    monkeypatch.setattr(
        "node.runtime.build.build_policy", lambda config, progress: seeds.append(config.run_seed)
    )
    _prepare_weights(lambda line: None)
    assert seeds == [SEED]
