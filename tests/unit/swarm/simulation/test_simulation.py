"""Simulated swarms, small: what must never happen, what faults do, and that a seed fixes it all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swarm.simulation import Partition, Scenario, ScenarioError, SimulationResult, run, simulate
from swarm.simulation.result import Recovery
from swarm.simulation.scenario import shard_depth

QUIET = Scenario(nodes=40, rounds=2, warm_up=1)


def play(scenario: Scenario) -> SimulationResult:
    return simulate(scenario, lambda line: None)


@pytest.fixture(scope="module")
def quiet() -> SimulationResult:
    return play(QUIET)


def assert_sound(result: SimulationResult) -> None:
    assert (result.trained_twice, result.never_offered) == (0, 0)
    assert (result.crossed, result.answered_dead) == (0, 0)
    assert result.served_bytes == result.fetched_bytes > 0


def test_equal_seeds_give_equal_outcomes(quiet: SimulationResult) -> None:
    assert play(QUIET) == quiet
    assert replace(play(replace(QUIET, seed=1)), scenario=QUIET) != quiet


def test_a_quiet_swarm_brings_every_node_its_bodies(quiet: SimulationResult) -> None:
    assert_sound(quiet)
    assert quiet.failed_share == 0
    assert quiet.bodies_per_round == pytest.approx(QUIET.bodies, abs=0.1)
    assert quiet.node_rounds == pytest.approx(QUIET.nodes * QUIET.rounds, rel=0.2)
    assert quiet.body_bytes == pytest.approx(quiet.bodies_per_round * (QUIET.body_size * 1.03 + 300))
    assert quiet.recovery is None
    parts = (
        quiet.announce_bytes,
        quiet.read_bytes,
        quiet.gossip_bytes,
        quiet.body_bytes,
        quiet.connection_bytes,
    )
    assert quiet.bytes_per_round == pytest.approx(sum(parts))
    assert quiet.control_bytes == pytest.approx(quiet.announce_bytes + quiet.read_bytes)


def test_announcing_and_reading_cost_no_more_in_a_larger_swarm(quiet: SimulationResult) -> None:
    larger = play(replace(QUIET, nodes=120))
    assert larger.control_bytes < 1.6 * quiet.control_bytes  # all bodies under one key: 3 times
    assert larger.hottest_share < 2.0


def test_nothing_crosses_a_partition_and_bodies_cross_again_once_it_heals(quiet: SimulationResult) -> None:
    result = play(replace(QUIET, rounds=4, partition=Partition(90.0, 150.0)))
    assert_sound(result)
    assert result.failed_share > quiet.failed_share
    recovery = result.recovery
    assert recovery is not None and recovery.seconds is not None and recovery.crossing_before is not None
    assert recovery.seconds <= 60
    assert recovery.crossing_before > 0.3
    assert recovery.bodies_during is not None and recovery.bodies_after is not None
    assert 0 < recovery.bodies_during < recovery.bodies_after


def test_recovery_has_no_figures_where_nothing_was_fetched() -> None:
    simulation = run.Simulation(replace(QUIET, partition=Partition(60.0, 90.0)))
    assert simulation.result().recovery == Recovery(None, None, None, None)


def test_nodes_that_left_never_answer_and_those_that_join_find_their_way() -> None:
    result = play(replace(QUIET, churn=0.2))
    assert_sound(result)
    assert 0.05 < result.failed_share < 0.6  # publishers die after announcing
    assert result.bodies_per_round > 3.5  # 3 if nobody stood in for the dead


def test_churn_replaces_the_given_share_each_minute() -> None:
    simulation = run.Simulation(replace(QUIET, churn=0.5))
    for _ in simulation.run():
        pass
    world = simulation._world
    assert len(world.nodes) == QUIET.nodes
    assert len(world.dht.servers) == QUIET.server_count
    assert simulation._born - QUIET.nodes == pytest.approx(0.5 * QUIET.nodes * 3, rel=0.4)


def test_lost_messages_cost_time_and_other_publishers_stand_in() -> None:
    result = play(replace(QUIET, loss=0.2))
    assert_sound(result)
    assert result.failed_share == pytest.approx(1 - 0.8**2, abs=0.08)
    assert result.bodies_per_round == pytest.approx(4, abs=0.1)  # 2.6 if nobody stood in


def test_a_far_swarm_gets_its_bodies_later(quiet: SimulationResult) -> None:
    slow = play(replace(QUIET, latency=2000.0))
    assert_sound(slow)
    assert slow.age > quiet.age


def test_shards_hold_about_24_announcements() -> None:
    assert [shard_depth(nodes) for nodes in (2, 30, 48, 100, 1_000, 10_000)] == [0, 0, 1, 2, 5, 9]
    assert Scenario(nodes=1_000).depth == 5
    assert Scenario(nodes=1_000, shard_depth=3).depth == 3
    assert [Scenario(nodes=n).server_count for n in (5, 100, 10_000)] == [5, 8, 500]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nodes": 1}, "--nodes 1: give 2 to 100000"),
        ({"rounds": 0}, "--rounds 0"),
        ({"bodies": 0}, "--bodies 0"),
        ({"body_size": 2**23}, "--body-size 8388608: give 1 to 4194304 bytes"),
        ({"latency": -1.0}, "--latency -1"),
        ({"loss": 1.0}, "--loss 1: give 0 to 0.9"),
        ({"churn": float("nan")}, "--churn nan"),
        ({"servers": 2.0}, "--servers 2: give 0 to 1"),
        ({"shard_depth": 21}, "--shard-depth 21: give 0 to 20"),
        ({"nodes": 100_000, "rounds": 1_000}, "rounds in all"),
        ({"partition": Partition(100.0, 9000.0)}, "raise --rounds"),
        ({"partition": Partition(100.0, 100.0)}, "--partition 100:100"),
    ],
)
def test_a_scenario_that_cannot_be_played_is_refused_with_the_fix(
    changes: dict[str, float], reason: str
) -> None:
    with pytest.raises(ScenarioError, match=reason):
        Scenario(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "120", "a:b", "1:2:3", "nan:5"])
def test_a_partition_that_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="partition"):
        Scenario(partition=Partition.parse(text))


def test_ctrl_c_keeps_what_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    def stop_late(line: str) -> None:
        lines.append(line)
        if len(lines) > 12:
            raise KeyboardInterrupt

    with pytest.raises(run.Interrupted) as stopped:
        simulate(QUIET, stop_late)
    result = stopped.value.result
    assert 0 < result.node_rounds < QUIET.nodes * QUIET.rounds
    assert result.seconds == pytest.approx(QUIET.seconds * 12 / 20)
