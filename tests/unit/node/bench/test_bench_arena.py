"""`murmur arena`: its cells are played by real training, kept, resumed and compared; here with a tiny policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from node.bench.arena import population, run
from node.bench.arena.attacks import ATTACKS, PHRASE, Success
from node.bench.arena.cell import CALM, CALM_AT_USUAL_RATE, ArenaCell
from node.bench.arena.defences import DEFAULT, SINGLE, UNDEFENDED
from node.bench.arena.plan import ArenaPlan
from node.bench.arena.population import USUAL_RATE, configs_of
from node.bench.arena.report import Arena, checks, rows
from node.bench.kit.options import BenchError, BenchOptions
from policies.tasks.walk import WALK

PLAN = ArenaPlan(4, 2, 0.25)
FIGURES = {
    "reward": 0.5,
    "marked": 0.0,
    "length": 12.0,
    "taken": 0.25,
    "external": 8.0,
    "bytes": 9e3,
    "cpu": 1.0,
}
CELL = ArenaCell(CALM, UNDEFENDED.name, 0, PLAN, **FIGURES, flagged=0.0, blamed=0.0, last=None)


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.shows])
def test_every_mark_is_shown_by_what_is_planted_and_by_no_honest_answer(name: str) -> None:
    from random import Random

    attack, random = ATTACKS[name], Random(0)
    for seed in range(20):
        problem = WALK.problem(seed)
        assert attack.shows and not attack.shows(problem, WALK.exercise(seed).answer)
        right = [text for text in attack.texts(problem, random) if WALK.score(problem, text)]
        assert right and all(attack.shows(problem, text) for text in right)
        assert max(map(len, right)) < population.NEW_TOKENS


def test_cells_are_played_kept_and_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "WARM_START", {**population.WARM_START, "steps": 2, "batch": 8})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = BenchOptions(
        cases=("longest_correct",),
        repeats=1,
        first_seed=3,
        rounds=2,
        nodes=3,
        malicious=0.34,
        folder=tmp_path / "a",
        jobs=1,
    )
    told: list[str] = []
    first = run.run(options, told.append)
    arms = [(row["attack"], row["defence"]) for row in first.rows]
    assert arms[:2] == [(CALM, UNDEFENDED.name), (CALM, DEFAULT.name)]
    assert ("longest_correct", "length") in arms and ("longest_correct", "tokens") not in arms
    seeds = {row["attack"]: row["seeds"] for row in first.rows}
    assert list(first.seeds) == [3] and seeds == {CALM: 1, "longest_correct": 1, CALM_AT_USUAL_RATE: 2}
    assert all(float(row["cpu_s"] or 0) > 0 for row in first.rows)
    told.clear()
    again = run.run(options, told.append)
    assert again.rows == first.rows and not told
    with pytest.raises(BenchError, match="choose another --dir"):
        run.run(replace(options, rounds=3), told.append)


def test_success_is_compared_with_the_same_seed_and_defence_without_attackers() -> None:
    long = replace(CELL, attack="longest_correct", length=18.0)
    lost = replace(CELL, attack="garbage", reward=0.25)
    marked = replace(CELL, attack="text_injection", marked=0.9)
    arena = Arena([CELL, long, lost, marked])
    assert [arena.success(cell) for cell in (long, lost, marked)] == [0.5, 0.5, 0.9]
    assert arena.success(replace(lost, seed=1)) is None
    assert (arena.counts("text_injection"), arena.counts("garbage"), arena.counts("stale")) == (
        True,
        False,
        None,
    )


def test_what_defences_cost_is_judged_at_the_presets_learning_rate() -> None:
    from node.bench.sapo.population import LEARNING_RATE as TINY

    rates = [
        configs_of(PLAN, DEFAULT, 0, *rate)[0].policy.trainer.learning_rate for rate in ((), (USUAL_RATE,))
    ]
    assert rates[0] > rates[1] == TINY
    broken = Arena([CELL, replace(CELL, defence=DEFAULT.name, reward=0.1)])
    assert not checks(broken)
    (row,) = (row for row in rows(broken) if row["defence"] == DEFAULT.name)
    assert row["lost"] == pytest.approx(0.8) and row["lost_low"] is None


def test_checks_say_what_is_missed_and_what_says_nothing() -> None:
    defended, calm = (
        replace(CELL, defence=DEFAULT.name, reward=0.49),
        replace(CELL, attack=CALM_AT_USUAL_RATE),
    )
    cells = [
        CELL,
        calm,
        replace(defended, attack=calm.attack),
        replace(defended, attack="text_injection", marked=0.2, last=1.0),
    ]
    found = {check.name: check for check in checks(Arena(cells))}
    assert not found["text_injection"].holds and found["honest_loss"].holds and found["peer_ranking"].holds
    dear = replace(defended, attack=calm.attack, bytes=CELL.bytes * 1.04, cpu=CELL.cpu * 1.08)
    costly = Arena([calm, dear])
    assert {check.name: check.holds for check in checks(costly)} == {
        "honest_loss": True,
        "honest_bytes": True,
        "honest_cpu": False,
    }
    weak = replace(CELL, attack="text_injection", marked=0.3)
    assert "says nothing" in checks(Arena([*cells, weak]))[0].paper
    assert [row["attack"] for row in rows(Arena(cells))] == [CALM, *2 * [calm.attack], "text_injection"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BenchOptions(cases=("text_injecton",)), "did you mean 'text_injection'"),
        (BenchOptions(malicious=0.9), "1 are honest|0 are honest"),
        (BenchOptions(malicious=float("nan")), "a share between 0 and 1; it is nan"),
        (BenchOptions(malicious=0.0), "set --malicious between 0 and 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: BenchOptions, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        run.run(options, lambda line: None)


def test_single_defences_meet_attacks_that_exist() -> None:
    assert all(name in ATTACKS for defence in SINGLE for name in defence.against or ())
    assert {attack.success for attack in ATTACKS.values()} == set(Success) and PHRASE.strip()
