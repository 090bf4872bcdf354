"""The attacks benchmark: its arithmetic from made-up deliveries, its measures on a small scale, and a real case."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hivemind.dht.routing import DHTID
from hivemind.proto import dht_pb2

from node.bench.attacks import hostile, measures, run
from node.bench.attacks.hostile_bootstrap import BEHAVIOURS, Liar
from node.bench.attacks.hostile_process import CORES, CpuQuota
from node.bench.attacks.measures import MEASURES
from node.bench.attacks.plan import CASES, JOINED, LIARS, PRIVATE, AttackPlan
from node.bench.attacks.report import DELIVERED, SETTLING, AttackOutcome, Delivery, checks
from node.bench.kit.options import BenchError, BenchOptions
from policies.tasks.task import TaskSpec
from swarm.wire.manifest import Manifest

# Peace from 0 to 60, the attack from 60 to 150, all over at 180: a group a second but while the attack settles.
EVERY_SECOND = tuple(
    Delivery(float(at), f"node-{at % 2}", "node-9") for at in range(180) if not 60 <= at < 90
)
OUTCOME = AttackOutcome(
    "slow_bodies",
    0.0,
    60.0,
    150.0,
    180.0,
    EVERY_SECOND,
    (10.0, 100.0, 149.0),
    {"announced": 24},
    cores_before=0.25,
    cores_during=0.5,
    hostile_cores=0.1,
    counted={"silent_streams": 7},
)


def test_a_row_compares_delivery_under_attack_with_that_before() -> None:
    assert (SETTLING, DELIVERED) == (30.0, 0.9)
    assert OUTCOME.row() == {
        "case": "slow_bodies",
        "before": 60.0,
        "during": 60.0,
        "after": 60.0,
        "kept": 1.0,
        "attack_s": 90.0,
        "receivers": 2,
        "published": 2,
        "joiners": "",
        "dials": None,
        "cores_before": 0.25,
        "cores_during": 0.5,
        "attacker_cores": 0.1,
        "counted": "7 silent_streams",
        "attacker": "24 announced",
    }
    assert [check.holds for check in checks([OUTCOME])] == [True]


def test_dials_at_a_stranger_are_held_against_the_budget() -> None:
    found = checks([replace(OUTCOME, dials=12.0), replace(OUTCOME, dials=17.0)])
    assert [(check.name, check.holds) for check in found] == [
        ("slow_bodies", True),
        ("slow_bodies", True),
        ("slow_bodies_dials", True),
        ("slow_bodies_dials", False),
    ]


def test_what_is_lost_after_the_attack_has_settled_fails_the_check() -> None:
    fewer = tuple(d for d in EVERY_SECOND if not 90 <= d.at < 97)
    lost = replace(OUTCOME, deliveries=fewer)
    assert lost.kept == pytest.approx(53 / 60)
    [check] = checks([lost])
    assert (check.name, check.holds) == ("slow_bodies", False)
    assert replace(OUTCOME, deliveries=()).kept == 0.0
    assert math.isnan(replace(OUTCOME, over=150.0).after)


def test_with_joiners_what_counts_is_what_they_get_of_those_who_stayed() -> None:
    peace = [
        Delivery(float(at), f"n{r}", f"n{s}")
        for at in range(60)
        for r in range(3)
        for s in range(3)
        if r != s
    ]
    joined = [Delivery(at + 0.5, "n2", f"n{s}") for at in range(90, 150, 2) for s in range(2)]
    strangers = [Delivery(at + 0.5, "n2", "n3") for at in range(90, 150)]
    stayed = [
        Delivery(at + 0.5, "n0", "n1") for at in range(90, 150)
    ]  # of what n0 and n1 gave each other, half
    outcome = replace(OUTCOME, deliveries=(*peace, *joined, *strangers, *stayed), joiners=("n2",))
    assert outcome.kept == pytest.approx(0.5)
    assert outcome.row()["joiners"] == "n2 0.50, the others 0.50"
    assert replace(outcome, joiners=("n2", "n3")).kept == 0.0, "the worst of them"


def test_a_quota_holds_a_process_to_its_share_and_lets_it_go_again() -> None:
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        quota = CpuQuota(burner.pid)
        quota.hold()
        began = time.monotonic()
        while (quota.used < 0.2) and time.monotonic() - began < 60.0:
            time.sleep(0.05)
        passed = time.monotonic() - began
        assert 0.2 <= quota.used <= CORES * passed + 0.5, "a burst and a look more at most"
        quota.lift()
        assert psutil.Process(burner.pid).status() != psutil.STATUS_STOPPED
    finally:
        burner.kill()
        burner.wait()


def test_every_liar_answers_in_a_way_of_its_own() -> None:
    assert len(BEHAVIOURS) == LIARS and {JOINED, PRIVATE} < set(CASES)
    counted: list[str] = []
    liar = Liar(lambda: [], counted.append)
    for behave in BEHAVIOURS.values():
        behave(liar, DHTID.generate(source="any"), dht_pb2.FindResult(type=dht_pb2.NOT_FOUND))


def test_a_hostile_process_has_a_function_for_every_case() -> None:
    assert tuple(hostile.ATTACKS) == CASES
    assert len(set(hostile.ATTACKS.values())) == len(CASES)
    assert not set(CASES) & set(MEASURES)


def test_what_an_attacker_announces_is_what_honest_nodes_take() -> None:
    manifest = Manifest("attacked", (TaskSpec("sort"),))
    plan = AttackPlan(
        CASES[0],
        manifest.encode().hex(),
        "/ip4/45.9.7.1/tcp/4001",
        "unused",
        {"12D3": "/ip4/45.1.7.1/tcp/1"},
        0,
        False,
    )
    assert AttackPlan.decode(plan.encode()) == plan and plan.address == "45.9.7.1"
    assert plan.bootstrap == ("/ip4/45.1.7.1/tcp/1/p2p/12D3",)
    attacker = hostile.Attacker(plan)
    records = [attacker.record(hostile.Identity.ephemeral(), attacker.nowhere()) for _ in range(8)]
    admitted = hostile.AnnouncementFilter(manifest)
    assert [admitted.admit(record.encode()) for record in records] == records
    assert len({record.host.rpartition(".")[0] for record in records}) == 8, "each is of another network"


def test_ground_keys_are_nearer_than_chance() -> None:
    near = hostile.ground_identities("some key", 64, 4)
    assert len({identity.peer_id for identity in near}) == 4


@pytest.mark.parametrize("name", ["group_weight", "front_running", "sybil_share", "honest_cpu"])
def test_a_measure_gives_a_figure_of_product_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "ROUNDS", 4)
    figure = MEASURES[name].measure(0)
    assert -1.0 <= figure <= 1.3
    if name != "honest_cpu":  # which is of processor time
        assert figure == MEASURES[name].measure(0), "the same for the same seed"


def test_measures_see_what_they_are_there_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the defence the figure is far from its bar."""
    monkeypatch.setattr(measures, "ROUNDS", 4)
    monkeypatch.setattr(measures, "fair_weights", lambda batch: batch)
    assert MEASURES["group_weight"].measure(0) > 1.5
    monkeypatch.setattr("swarm.sampling.newcomer_places.IDENTITIES_OF_ADDRESS", 20)
    monkeypatch.setattr("swarm.sampling.newcomer_places.IDENTITIES_OF_SUBNET", 20)
    assert MEASURES["sybil_share"].measure(0) > 0.5
    monkeypatch.setattr("swarm.admission.replay_guard.ReplayGuard.knows_body", lambda self, digest: False)
    monkeypatch.setattr("swarm.admission.replay_guard.ReplayGuard.is_replay", lambda self, *given: False)
    monkeypatch.setattr(measures, "SYBILS", 1)
    assert MEASURES["replay_flush"].measure(0) == 64


def test_unknown_cases_and_attacks_too_short_to_count_are_refused() -> None:
    with pytest.raises(BenchError, match="did you mean 'slow_bodies'"):
        run.run(BenchOptions(cases=("slow_body",)), pytest.fail)
    with pytest.raises(BenchError, match="first 30 s"):
        run.run(BenchOptions(cases=("slow_bodies",), seconds=30.0), pytest.fail)


def test_measures_alone_start_no_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measures, "ROUNDS", 2)
    report = run.run(BenchOptions(cases=("front_running",), repeats=2), lambda line: None)
    assert [row["measure"] for row in report.rows] == ["front_running"]
    assert [check.name for check in report.checks] == ["front_running"] and list(report.seeds) == [0, 1]
    assert not list(tmp_path.iterdir())


# What the attacker of each case counts once its attack is on.
DONE = dict(
    zip(
        CASES,
        (
            "announced",
            "slow_streams",
            "silent_streams",
            "flood_records",
            "ground_nodes",
            "announced",
            "flood_records",
            "5 liars",
        ),
        strict=True,
    )
)


@pytest.mark.slow
@pytest.mark.swarm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", CASES)
def test_real_nodes_share_under_attack(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Real daemons and a real attacker, for less time than counts: the machine may be shared by others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "BEFORE_SECONDS", 15.0)
    monkeypatch.setattr(run, "AFTER_SECONDS", 5.0)
    monkeypatch.setattr(run, "NODES", 3)
    [row] = run.run(BenchOptions(cases=(case,), seconds=50.0), lambda line: None).rows
    assert row["before"] > 0 and DONE[case] in str(row["attacker"])
    assert row["receivers"] == (4 if case == JOINED else 3)
    assert row["kept"] > 0.3
