"""`murmur bench gossip` on made-up measurements; no daemon runs here."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from node.bench.gossip import memory_growth, run, scale
from node.bench.gossip.memory_growth import MemorySample, Resident
from node.bench.gossip.process import Measurement
from node.bench.gossip.report import checks_of, rows_of
from node.bench.gossip.scale import simulated_scale
from node.bench.gossip.swarm_plan import OURS, REFERENCE, Meter, SwarmPlan, SwarmRound
from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.report import Check, Interrupted


def a_plan(case: str, side: str = OURS, nodes: int = 8, seed: int = 0) -> SwarmPlan:
    return SwarmPlan(case, side, nodes, 100_000, seed, rounds=3)


def a_round(kilobytes: int, nodes: int, got: int, fetch: int = 0) -> SwarmRound:
    """Every node received so many kB to read with, and `fetch` kB of bodies."""
    received = {"announce": 0, "read": kilobytes * 1000 * nodes, "fetch": fetch * 1000 * nodes}
    return SwarmRound(2.0, received, (got,) * nodes, failures=1, lag=0.5)


def measured(plan: SwarmPlan, *rounds: SwarmRound, own: bool = True) -> Measurement:
    return Measurement(plan, rounds, own)


def check(name: str, *measurements: Measurement) -> Check:
    return next(c for c in checks_of(measurements) if c.name == name)


def test_a_meter_sorts_bytes_by_phase_and_leaves_its_own_waiting_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now, loopback = [10.0], [1_000]

    async def sleep(seconds: float) -> None:
        now[0] += seconds
        loopback[0] += 50  # still under way when the phase ended

    monkeypatch.setattr(asyncio, "sleep", sleep)
    meter = Meter(lambda: loopback[0], lambda: now[0])

    async def two_phases() -> None:
        meter.start()
        now[0], loopback[0] = 12.0, 3_000
        await meter.lap("announce")
        now[0], loopback[0] = now[0] + 1.0, loopback[0] + 700
        await meter.lap("fetch")

    asyncio.run(two_phases())
    assert meter.by_verb == {"announce": 2_050, "fetch": 750}
    assert math.isclose(meter.seconds, 3.0)


def test_plans_and_rounds_survive_the_way_between_processes() -> None:
    plan, played = a_plan("n8"), a_round(470, 8, 4)
    assert SwarmPlan.decode(plan.encode()) == plan
    assert SwarmRound.decode(played.encode()) == played


def test_shards_appear_with_the_41st_node() -> None:
    assert [a_plan("n", nodes=n).shard_depth for n in (4, 32, 40, 48, 64, 96)] == [0, 0, 0, 1, 1, 2]


def test_of_few_nodes_nobody_wants_more_than_there_are() -> None:
    assert [a_plan("n", nodes=n).wanted for n in (4, 5, 32)] == [3, 4, 4]
    assert [a_plan("n", REFERENCE, nodes=n).wanted for n in (4, 5, 32)] == [3, 4, 31]


def test_a_row_gives_medians_ranges_and_what_was_delivered() -> None:
    rounds = [a_round(60, 8, 4, fetch=400), a_round(40, 8, 4, fetch=400), a_round(90, 8, 2, fetch=400)]
    (row,) = rows_of([measured(a_plan("n8"), *rounds)])
    assert (row["mb"], row["mb_low"], row["mb_high"]) == (0.46, 0.44, 0.49)
    assert (row["announce_kb"], row["read_kb"], row["fetch_kb"]) == (0, 60, 400)
    assert row["overhead_kb"] == pytest.approx(60)  # over four bodies of 100 kB
    assert row["delivered"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert (row["rounds"], row["failures"], row["lag"], row["empty_handed"]) == (3, 3, 0.5, 0)
    assert row["run"] == "8 at once, 3 s, 4 MiB"


def test_repeats_share_a_row_and_sides_do_not() -> None:
    ours = [measured(a_plan("n8", seed=seed), a_round(460 + seed, 8, 4)) for seed in range(3)]
    rows = list(rows_of([*ours, measured(a_plan("n8", REFERENCE), a_round(6000, 8, 7, fetch=0))]))
    assert [(row["side"], row["rounds"], row["mb"]) for row in rows] == [
        (OURS, 3, 0.461),
        (REFERENCE, 1, 6.0),
    ]


def test_who_got_nothing_is_told_beside_the_share() -> None:
    starved = replace(a_round(900, 32, 0), got=(31,) * 5 + (0,) * 27)
    (row,) = rows_of([measured(a_plan("cliff", REFERENCE, nodes=32), starved)])
    assert row["delivered"] == pytest.approx(5 / 32)
    assert row["empty_handed"] == pytest.approx(27 / 32)


@pytest.mark.parametrize(("kilobytes", "holds"), [(575, True), (576, False)])
def test_flatness_is_our_bytes_at_32_over_those_at_8(kilobytes: int, holds: bool) -> None:
    at_8 = measured(a_plan("n8"), a_round(460, 8, 4))
    at_32 = measured(a_plan("n32", nodes=32), a_round(kilobytes, 32, 4))
    flatness = check("flatness", at_8, at_32)
    assert flatness.ours == pytest.approx(kilobytes / 460)
    assert flatness.holds is holds


@pytest.mark.parametrize(("kilobytes", "holds"), [(10_000, True), (9_990, False)])
def test_the_advantage_is_the_reference_over_ours_at_32(kilobytes: int, holds: bool) -> None:
    ours = measured(a_plan("n32", nodes=32), a_round(500, 32, 4))
    reference = measured(a_plan("n32", REFERENCE, nodes=32), a_round(kilobytes, 32, 31))
    advantage = check("advantage_32", ours, reference)
    assert advantage.ours == pytest.approx(kilobytes / 500)
    assert advantage.holds is holds


@pytest.mark.parametrize(("lost", "holds"), [(1, True), (2, False)])
def test_the_cliff_asks_that_ours_still_deliver(lost: int, holds: bool) -> None:
    got = replace(a_round(700, 32, 4), got=(4,) * (32 - lost) + (3,) * lost)
    cliff = check("cliff", measured(a_plan("cliff", nodes=32), got))
    assert cliff.ours == 1 - lost / 128
    assert cliff.holds is holds


def test_cases_that_were_not_measured_make_no_check() -> None:
    assert checks_of([measured(a_plan("n8"), a_round(460, 8, 4))]) == []
    assert memory_growth.checks_of([MemorySample(100, (Resident(1, 1),), 0, 0)]) == []


@pytest.mark.parametrize(("late", "holds"), [(115, True), (116, False)])
def test_memory_is_the_growth_of_process_and_daemon_since_they_settled(late: int, holds: bool) -> None:
    samples = [
        MemorySample(50, (Resident(10, 10),), 1, 0),
        MemorySample(100, (Resident(60, 40),), 2, 0),
        MemorySample(500, (Resident(60, late - 60),), 3, 0),
    ]
    (memory,) = memory_growth.checks_of(samples)
    assert memory.name == "memory_500" and memory.ours == pytest.approx(late / 100)
    assert memory.holds is holds
    assert [row["round"] for row in memory_growth.rows_of(samples)] == [50, 100, 500]


def simulated(
    control: float = 40e3, reads: float = 1.0, hottest: float = 1.4, p: float = 0.4
) -> SimpleNamespace:
    return SimpleNamespace(
        control_bytes=control, reads_per_round=reads, hottest_share=hottest, uniformity_p=p
    )


@pytest.mark.parametrize(
    ("large", "share"),
    [
        (simulated(), 1.0),
        (simulated(control=51e3), 0.75),
        (simulated(reads=1.3), 0.75),
        (simulated(hottest=4.1), 0.75),
        (simulated(p=0.009, hottest=9.0), 0.5),
    ],
)
def test_every_statement_on_10000_nodes_has_to_be_true(large: SimpleNamespace, share: float) -> None:
    check = simulated_scale(simulated(), large)
    assert (check.name, check.ours, check.holds) == ("simulated_10000", share, share == 1.0)
    (row,) = scale.rows_of({10_000: large})
    assert row["simulated"] == 10_000 and row["control_kb"] == large.control_bytes / 1e3


def stand_in(plan: SwarmPlan, on_round: object) -> Measurement:
    return measured(plan, a_round(500, plan.nodes, 4))


def test_without_a_case_all_but_the_long_ones_run(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(run, "measure", stand_in)
    monkeypatch.setattr(run.simulation, "simulate", lambda scenario, _: simulated())
    report = run.run(BenchOptions(repeats=2), said.append)
    real = [row for row in report.rows if "case" in row]
    assert list(dict.fromkeys(row["case"] for row in real)) == ["n4", "n8", "n16", "n32", "cliff"]
    assert {row["side"] for row in real} == {OURS, REFERENCE}
    assert [row["simulated"] for row in report.rows if row not in real] == [1_250, 10_000]
    assert [c.name for c in report.checks] == ["flatness", "advantage_32", "cliff", "simulated_10000"]
    assert report.machine["bytes_on"] == "the loopback of an own network"
    assert list(report.seeds) == [0, 1]
    assert said[0] == "seed 0, n4, ours: 4 nodes start"


def test_the_report_says_when_other_traffic_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "measure", lambda plan, _: replace(stand_in(plan, None), own_network=False))
    report = run.run(BenchOptions(cases=("n4",)), lambda line: None)
    assert "other programs" in str(report.machine["bytes_on"])


def test_bodies_of_the_cliff_pass_hivemind_s_limit_and_others_do_not() -> None:
    for case, plans in run.CASES.items():
        for plan in plans:
            if plan.side == REFERENCE:
                assert (plan.nodes * plan.size > plan.message_limit) is (case == "cliff"), case


def test_ctrl_c_keeps_the_swarms_that_were_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(plan: SwarmPlan, on_round: object) -> Measurement:
        if plan.nodes == 8:
            raise KeyboardInterrupt
        return stand_in(plan, on_round)

    monkeypatch.setattr(run, "measure", interrupted)
    with pytest.raises(Interrupted) as ended:
        run.run(BenchOptions(), lambda line: None)
    assert [row["case"] for row in ended.value.report.rows] == ["n4", "n4"]


def test_ctrl_c_keeps_the_looks_at_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(seed: int, progress: object) -> Iterator[MemorySample]:
        yield MemorySample(50, (Resident(1, 1),), 4, 0)
        raise KeyboardInterrupt

    monkeypatch.setattr(memory_growth, "watch", watch)
    with pytest.raises(Interrupted) as ended:
        run.run(BenchOptions(cases=("memory",)), lambda line: None)
    assert [row["fetched"] for row in ended.value.report.rows] == [4]


def test_an_unknown_case_is_refused_before_anything_starts() -> None:
    with pytest.raises(BenchError, match="did you mean 'n32'"):
        run.run(BenchOptions(cases=("n33",)), lambda line: pytest.fail(line))


NETWORK = """
import socket
from node.bench.gossip.netspace import enter_own_network, loopback_bytes
own, before = enter_own_network(), loopback_bytes()
sender, receiver = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
receiver.bind(("127.0.0.1", 0))
sender.sendto(bytes(1000), receiver.getsockname())
receiver.recv(2000)
print(own, loopback_bytes() - before)
"""


def test_an_own_network_counts_its_own_bytes_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NETWORK], capture_output=True, text=True, timeout=60, check=True
    )
    own, counted = done.stdout.split()
    if own == "False":
        pytest.skip("this machine lets nobody make a network of his own")
    assert int(counted) == 1000 + 28  # with the headers of IP and UDP
