"""`murmur bench sapo`: its arithmetic on made-up cells, its store, and a tiny population played for real."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from node.bench.kit import trained_node
from node.bench.kit.cell_store import CellStore
from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.trained_node import HeldOutScore
from node.bench.sapo import population, run
from node.bench.sapo.arms import SPLITS, arms_of, baseline
from node.bench.sapo.cell import Cell, NodeCourse, play_cell
from node.bench.sapo.plot import draw_curves
from node.bench.sapo.population import PopulationPlan, config_of, skills_of
from node.bench.sapo.report import (
    checks,
    cumulative,
    cumulative_within,
    deepest_fall,
    equal_time_uplifts,
    rows,
    uplifts,
)
from node.config.reading import load_config
from policies.tasks import build_task

PLAN = PopulationPlan(nodes=2, rounds=3, policy="embedded")


def course(rewards: Sequence[float], cpu: float = 1.0, end: float = 0.5) -> NodeCourse:
    return NodeCourse(
        end=HeldOutScore(end, end, {"sort@1": end}),
        rewards=list(rewards),
        by_task=[{"sort@1": reward} for reward in rewards],
        update_rewards=[2 * reward for reward in rewards],
        cpu=[cpu] * len(rewards),
        tokens=[10] * len(rewards),
    )


def a_cell(arm: str, *rewards: Sequence[float], seed: int = 0, cpu: float = 1.0, end: float = 0.5) -> Cell:
    return Cell(arm, seed, PLAN, [course(line, cpu, end) for line in rewards])


SILO = a_cell("8/0", [0.1, 0.1, 0.2], [0.1, 0.1, 0.2], end=0.2)
SHARING = a_cell("4/4", [0.1, 0.3, 0.6], [0.1, 0.3, 0.4], cpu=2.0, end=0.6)


def test_uplifts_compare_with_the_silo_of_the_same_seed() -> None:
    assert cumulative(SILO) == pytest.approx(0.8)
    assert uplifts([SILO, SHARING], "4/4", "8/0", cumulative) == [pytest.approx(1.8 / 0.8 - 1.0)]
    elsewhere = a_cell("4/4", [9.0, 9.0, 9.0], seed=1)
    assert len(uplifts([SILO, SHARING, elsewhere], "4/4", "8/0", cumulative)) == 1


def test_equal_time_counts_the_rounds_that_the_same_cpu_seconds_buy() -> None:
    # The silo took 6 s in all; the sharing arm plays 4 s a round: one round, and half of the second.
    assert cumulative_within(SHARING, 6.0) == pytest.approx(0.2 + 0.6 / 2)
    assert cumulative_within(SILO, 6.0) == pytest.approx(0.8)
    assert equal_time_uplifts([SILO, SHARING], "4/4", "8/0") == [pytest.approx(0.5 / 0.8 - 1.0)]


def test_the_best_sharing_arm_is_held_to_the_papers_figure() -> None:
    weak = a_cell("6/2", [0.1, 0.1, 0.25], [0.1, 0.1, 0.25], end=0.25)
    found = {check.name: check for check in checks([SILO, SHARING, weak], "8/0", ["6/2", "4/4", "2/6"])}
    assert list(found) == ["uplift_4_4", "uplift_best", "uplift_best_equal_time", "uplift_best_heldout"]
    assert found["uplift_best"].ours == found["uplift_4_4"].ours == pytest.approx(1.25)
    assert found["uplift_best"].holds and found["uplift_best"].floor == 0.94
    assert found["uplift_best_heldout"].ours == pytest.approx(2.0)
    assert not found["uplift_best_equal_time"].holds
    assert checks([SILO], "8/0", ["4/4"]) == []


def test_a_curve_that_swings_falls_and_one_that_rises_does_not() -> None:
    rising, swinging = [i / 40 for i in range(40)], [0.0] * 10 + [0.8] * 10 + [0.1] * 10 + [0.9] * 10
    assert deepest_fall(a_cell("4/4", rising)) == pytest.approx(0.0)
    assert deepest_fall(a_cell("2/6", swinging)) == pytest.approx(0.7)


def test_rows_hold_the_papers_figures_beside_ours() -> None:
    table = rows([SILO, SHARING], "8/0")
    by_arm = {row["arm"]: row for row in table if "arm" in row}
    assert by_arm["4/4"]["paper"] == 1093.31
    assert by_arm["4/4"]["paper_uplift"] == pytest.approx(0.946, abs=1e-3)
    assert by_arm["4/4"]["papers_metric"] == pytest.approx(3.6)
    assert by_arm["8/0"]["uplift"] == 0.0
    assert [row["held_out_by_task"] for row in table if "held_out_by_task" in row] == ["8/0", "4/4"]


def test_the_plot_is_well_formed_and_has_a_line_for_every_arm() -> None:
    picture = ElementTree.fromstring(draw_curves([SILO, SHARING, a_cell("4/4 <x>", [0.1, 0.2, 0.3])]))
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    labels = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert len(lines) == 3
    assert labels[-3:] == ["8/0", "4/4", "4/4 <x>"]


def test_cells_survive_the_store_and_those_of_another_plan_are_refused(tmp_path: Path) -> None:
    store = CellStore(tmp_path, PLAN, Cell.from_json)
    assert store.get("4/4", 0) is None
    store.put(SHARING)
    assert asdict(store.cells(["8/0", "4/4"], [0, 1])[0]) == asdict(SHARING)
    with pytest.raises(BenchError, match="choose another --dir"):
        CellStore(tmp_path, PopulationPlan(8, 3, "embedded"), Cell.from_json).get("4/4", 0)
    next(tmp_path.glob("*.json")).write_text("{}")
    with pytest.raises(BenchError, match="move it away"):
        store.get("4/4", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BenchOptions(nodes=1), "nobody to share with"),
        (BenchOptions(policy="embeded"), "did you mean 'embedded'"),
        (BenchOptions(splits=("4/4", "2/6")), "add 8/0"),
        (BenchOptions(splits=("8/0", "0/8")), "is no split"),
        (BenchOptions(splits=("8/0", "four")), "is no split"),
        (BenchOptions(cases=("4/5",)), "no arm"),
        (BenchOptions(policy="smollm2", unlike=True), "leave out --unlike"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: BenchOptions, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        run.run(options, lambda line: None)


def test_arms_differ_in_nothing_but_their_own_sections() -> None:
    silo, *others = arms_of(SPLITS)
    shared = {"strategy", "sampler", "swarm"}
    plain = config_of(silo, 0, PLAN, 1).model_dump(exclude=shared)
    for arm in others:
        assert config_of(arm, 0, PLAN, 1).model_dump(exclude=shared) == plain
    assert skills_of(1) == skills_of(7) != skills_of(2)


def test_unlike_nodes_differ_in_size_strength_and_pace() -> None:
    plan = PopulationPlan(4, 4, "embedded", unlike=True)
    starts = [config_of(arms_of(SPLITS)[0], 0, plan, number).policy.warm_start for number in range(4)]
    assert [start.size for start in starts] == ["normal", "small", "normal", "small"]
    assert [max(start.skills.values()) for start in starts] == [0.6, 0.6, 0.3, 0.3]
    assert [plan.pace_of(number) for number in range(4)] == [1, 1, 1, 2]
    assert {PLAN.pace_of(number) for number in range(4)} == {1}


def test_a_slow_node_keeps_its_reward_through_rounds_that_it_does_not_play() -> None:
    slow = course([0.25])
    slow.rest()
    assert (slow.rewards, slow.cpu, slow.tokens) == ([0.25, 0.25], [1.0, 0.0], [10, 0])
    fresh = NodeCourse(end=HeldOutScore(0.0, 0.0, {}))
    fresh.rest()
    assert fresh.rewards == [0.0]


def test_a_real_model_meets_tasks_of_the_paper() -> None:
    config = config_of(arms_of(SPLITS)[0], 0, PopulationPlan(2, 1, "smollm2"), 0)
    assert config.policy.type == "text"
    tasks = [build_task(task.spec) for task in config.tasks]
    assert len(tasks) == 7
    assert all(task.score(task.problem(3), task.problem(3).answer) == 1.0 for task in tasks)


def test_the_preset_is_the_papers_4_4_arm() -> None:
    preset = load_config("sapo")
    arm = next(arm for arm in arms_of(SPLITS) if arm.name == "4/4")
    measured = config_of(arm, 0, PLAN, 0)
    assert preset.strategy == measured.strategy
    apart = {"max_age": measured.sampler.max_age}  # real nodes do not go round in lockstep
    assert preset.sampler.model_copy(update=apart) == measured.sampler
    assert preset.policy.trainer == measured.policy.trainer
    assert (preset.policy.trainer.epsilon_low, preset.policy.trainer.epsilon_high) == (0.2, 0.28)
    assert {task.name for task in preset.tasks} == {task.name for task in measured.tasks}


@pytest.fixture
def newborn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Policies after a single supervised step, made in a moment."""

    def policy(plan: PopulationPlan, number: int) -> Mapping[str, Any]:
        start = {"steps": 1, "batch": 6, "skills": skills_of(number)}
        return {"type": "embedded", "generation": {"max_new_tokens": 4}, "warm_start": start}

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(population, "_policy", policy)
    monkeypatch.setattr(trained_node, "JUDGED", 1)


@pytest.mark.usefixtures("newborn")
def test_nodes_of_a_population_hear_each_other_and_silos_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever guesses gets groups of different rewards: every second completion counts as right.
    monkeypatch.setattr(
        "policies.tasks.embedded.EmbeddedTask.score", lambda task, problem, text: len(text) % 2
    )
    arms = {arm.name: arm for arm in arms_of(SPLITS)}
    sharing, silo = (play_cell(arms[name], 0, PLAN, lambda line: None) for name in ("4/4", "8/0"))
    assert all(node.external > 0 for node in sharing.nodes)
    assert all(node.external == 0 for node in silo.nodes)
    assert [node.generated for node in sharing.nodes] == [12, 12]
    assert [node.generated for node in silo.nodes] == [24, 24]
    assert all(len(node.rewards) == len(node.cpu) == 3 for node in sharing.nodes)
    # Nothing was imported: what an update was given is what was generated.
    assert silo.nodes[0].update_rewards == pytest.approx(silo.nodes[0].rewards)


@pytest.mark.usefixtures("newborn")
def test_a_second_call_plays_only_what_is_missing(tmp_path: Path) -> None:
    lines: list[str] = []
    options = BenchOptions(
        repeats=1, cases=("4/4",), nodes=2, rounds=1, folder=tmp_path / "cells", plot=tmp_path / "plot.svg"
    )
    report = run.run(options, lines.append)
    assert sum(line.startswith("cell ") for line in lines) == 3  # the start, 8/0 and 4/4
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")
    lines.clear()
    again = run.run(options, lines.append)
    assert lines == []
    assert json.dumps(again.as_json()) == json.dumps(report.as_json())
    assert baseline(arms_of(SPLITS)).name == "8/0"
