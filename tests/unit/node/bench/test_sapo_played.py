"""`murmur bench sapo` played for real, by tiny populations whose policies are made in a moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.bench.kit import trained_node
from node.bench.kit.options import BenchOptions
from node.bench.sapo import population, run
from node.bench.sapo.arms import SPLITS, arms_of, baseline
from node.bench.sapo.cell import Cell
from node.bench.sapo.heat import play_heat
from node.bench.sapo.population import PopulationPlan, skills_of
from node.bench.sapo.rates import CHOICE_SEED

PLAN = PopulationPlan(nodes=2, rounds=3, policy="embedded")
ARMS = {arm.name: arm for arm in arms_of(SPLITS)}


def silent(line: str) -> None:
    """Takes progress."""


@pytest.fixture
def newborn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Policies after a single supervised step, made in a moment."""

    def policy(plan: PopulationPlan, number: int) -> Mapping[str, Any]:
        start = {"steps": 1, "batch": 6, "skills": skills_of(number)}
        return {"type": "embedded", "generation": {"max_new_tokens": 4}, "warm_start": start}

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(population, "_policy", policy)
    monkeypatch.setattr(trained_node, "JUDGED", 1)


@pytest.fixture
def every_second_is_right(newborn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever guesses gets groups of different rewards."""
    monkeypatch.setattr(
        "policies.tasks.embedded.EmbeddedTask.score", lambda task, problem, text: len(text) % 2
    )


@pytest.mark.usefixtures("every_second_is_right")
def test_nodes_of_a_population_hear_each_other_and_silos_do_not() -> None:
    sharing, silo = play_heat([ARMS["4/4"], ARMS["8/0"]], 0, PLAN, silent)
    assert all(node.external > 0 for node in sharing.nodes)
    assert all(node.external == 0 for node in silo.nodes)
    assert [node.generated for node in sharing.nodes] == [12, 12]
    assert [node.generated for node in silo.nodes] == [24, 24]
    assert all(len(node.rewards) == len(node.cpu) == 3 for node in sharing.nodes)
    # Nothing was imported: what an update was given is what was generated.
    assert silo.nodes[0].update_rewards == pytest.approx(silo.nodes[0].rewards)


@pytest.mark.usefixtures("every_second_is_right")
def test_arms_of_a_heat_come_to_what_they_come_to_alone() -> None:
    """They share the machine and nothing else."""
    arms = [ARMS["4/4 positive"], ARMS["8/0 resampled"]]
    together = play_heat(arms, 1, PLAN, silent)
    apart = [cell for arm in arms for cell in play_heat([arm], 1, PLAN, silent)]
    assert [without_seconds(cell) for cell in together] == [without_seconds(cell) for cell in apart]


def without_seconds(cell: Cell) -> Cell:
    return replace(cell, nodes=[replace(node, cpu=[]) for node in cell.nodes])


@pytest.mark.usefixtures("newborn")
def test_rates_are_chosen_on_a_seed_apart_and_reported_on_others(tmp_path: Path) -> None:
    lines: list[str] = []
    folder = tmp_path / "cells"
    options = BenchOptions(
        repeats=1,
        first_seed=5,
        cases=("4/4",),
        nodes=2,
        rounds=1,
        rates=("3e-4", "1e-3"),
        population="alike",
        folder=folder,
    )
    report = run.run(options, lines.append)
    kept = sorted(file.stem for file in folder.iterdir())
    # Newborn policies get nothing right at either rate: the smaller one is taken.
    assert kept == sorted(
        ["start-0", "8-0-5", "4-4-5"]
        + [f"{arm}{rate}-{CHOICE_SEED}" for arm in ("8-0", "4-4") for rate in ("", "-at-0.001")]
    )
    choices = [(row["rate_of"], row["rate"], row["chosen"]) for row in report.rows if "rate_of" in row]
    assert choices == [
        ("8/0", 3e-4, True),
        ("8/0", 1e-3, False),
        ("4/4", 3e-4, True),
        ("4/4", 1e-3, False),
    ]
    assert report.machine["population"] == "alike" and list(report.seeds) == [5]


@pytest.mark.usefixtures("newborn")
def test_a_second_call_plays_only_what_is_missing(tmp_path: Path) -> None:
    lines: list[str] = []
    options = BenchOptions(
        repeats=1, cases=("4/4",), nodes=2, rounds=1, folder=tmp_path / "cells", plot=tmp_path / "plot.svg"
    )
    report = run.run(options, lines.append)
    assert [line for line in lines if "round" not in line] == ["seed 0: start", "seed 0: 8/0, 4/4"]
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")
    lines.clear()
    again = run.run(options, lines.append)
    assert lines == []
    assert json.dumps(again.as_json()) == json.dumps(report.as_json())
    assert baseline(arms_of(SPLITS)).name == "8/0"
