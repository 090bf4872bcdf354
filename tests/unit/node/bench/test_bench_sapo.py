"""`murmur bench sapo`: its arms and populations, the figures of made-up cells, and its store."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from node.bench.kit.cell_store import CellStore
from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.trained_node import HeldOutScore
from node.bench.sapo import run
from node.bench.sapo.arms import ALL_SPLITS, SPLITS, arms_of
from node.bench.sapo.cell import Cell, NodeCourse
from node.bench.sapo.measures import deepest_fall
from node.bench.sapo.plot import draw_curves
from node.bench.sapo.population import PopulationPlan, config_of, skills_of
from node.bench.sapo.rates import CHOICE_SEED
from node.bench.sapo.report import rows
from node.config.reading import load_config
from policies.strategies.settings import DarsSettings, GrpoSettings
from policies.tasks import build_task

PLAN = PopulationPlan(nodes=2, rounds=3, policy="embedded")


def course(rewards: Sequence[float], cpu: float = 1.0, end: float = 0.5, tokens: int = 10) -> NodeCourse:
    return NodeCourse(
        end=HeldOutScore(end, end, {"sort@1": end, "shift@1": end / 2}),
        rewards=list(rewards),
        update_rewards=[2 * reward for reward in rewards],
        cpu=[cpu] * len(rewards),
        tokens=[tokens] * len(rewards),
    )


def a_cell(
    arm: str, *rewards: Sequence[float], seed: int = 0, cpu: float = 1.0, end: float = 0.5, tokens: int = 10
) -> Cell:
    return Cell(arm, seed, PLAN, [course(line, cpu, end, tokens) for line in rewards])


SILO = a_cell("8/0", [0.1, 0.1, 0.2], [0.1, 0.1, 0.2], end=0.2)
SHARING = a_cell("4/4", [0.1, 0.3, 0.6], [0.1, 0.3, 0.4], cpu=2.0, end=0.6, tokens=5)


def test_a_curve_that_swings_falls_and_one_that_rises_does_not() -> None:
    rising, swinging = [i / 40 for i in range(40)], [0.0] * 10 + [0.8] * 10 + [0.1] * 10 + [0.9] * 10
    assert deepest_fall(a_cell("4/4", rising)) == pytest.approx(0.0)
    assert deepest_fall(a_cell("2/6", swinging)) == pytest.approx(0.7)


def test_rows_hold_the_papers_figures_beside_ours() -> None:
    table = rows([SILO, SHARING], arms_of(SPLITS))
    by_arm = {row["arm"]: row for row in table if "arm" in row}
    assert list(by_arm) == ["8/0", "4/4"]
    assert by_arm["4/4"]["paper"] == 1093.31
    assert by_arm["4/4"]["paper_uplift"] == pytest.approx(0.946, abs=1e-3)
    assert by_arm["4/4"]["papers_metric"] == pytest.approx(3.6)
    assert by_arm["4/4"]["tokens"] == 15
    (task_row,) = [row for row in table if row.get("held_out_by_task") == "4/4"]
    assert task_row["sort"] == pytest.approx(0.6) and task_row["shift"] == pytest.approx(0.3)
    assert [row["held_out_by_node"] for row in table if "held_out_by_node" in row] == ["8/0", "4/4"]


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
        (BenchOptions(policy="smollm2", population="unlike"), "leave out --population"),
        (BenchOptions(population="alik"), "did you mean 'alike'"),
        (BenchOptions(rates=("3e-4", "fast")), "are no learning rates"),
        (BenchOptions(rates=("3e-4", "nan")), "are no learning rates"),
        (BenchOptions(first_seed=CHOICE_SEED - 1), "set --first-seed"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: BenchOptions, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        run.run(options, lambda line: None)


def test_arms_differ_in_nothing_but_their_own_sections() -> None:
    silo, *others = arms_of(ALL_SPLITS)
    shared = {"strategy", "sampler", "swarm"}
    plain = config_of(silo, 0, PLAN, 1).model_dump(exclude=shared)
    for arm in others:
        assert config_of(arm, 0, PLAN, 1).model_dump(exclude=shared) == plain
    assert skills_of(1) == skills_of(7) != skills_of(2)


@pytest.mark.parametrize(
    ("arm", "beside", "section", "change"),
    [
        ("4/4 positive", "4/4", "sampler", {"external_advantages": "positive"}),
        ("4/4 adaptive", "4/4 positive", "sampler", {"split": "adaptive"}),
        ("4/4 relief", "4/4 positive", "sampler", {"retry_unsolved": 0.25}),
        ("4/4 positive filtered", "4/4 positive", "strategy", {"keep_zero_advantage": False}),
        ("8/0 filtered", "8/0", "strategy", {"keep_zero_advantage": False}),
    ],
)
def test_an_arm_changes_one_thing_of_the_arm_beside_it(
    arm: str, beside: str, section: str, change: dict[str, object]
) -> None:
    by_name = {each.name: each for each in arms_of(SPLITS)}
    mine, other = (config_of(by_name[name], 0, PLAN, 0).model_dump() for name in (arm, beside))
    other[section] |= change
    assert mine == other


def test_the_silos_of_the_tables_are_the_strongest_that_the_product_has() -> None:
    strategies = {arm.name: config_of(arm, 0, PLAN, 0).strategy for arm in arms_of(SPLITS) if not arm.shares}
    resampled, dars = strategies["8/0 resampled"], strategies["8/0 dars"]
    assert isinstance(resampled, GrpoSettings) and resampled.replace == 3.0
    assert isinstance(dars, DarsSettings) and (dars.rollouts, dars.max_rollouts) == (8, 64)


def test_populations_differ_as_their_names_say() -> None:
    def starts(population: str) -> list[Any]:
        plan = PopulationPlan(4, 4, "embedded", population)
        return [config_of(arms_of(SPLITS)[0], 0, plan, number).policy.warm_start for number in range(4)]

    unlike = starts("unlike")
    assert [start.size for start in unlike] == ["normal", "small", "normal", "small"]
    assert [max(start.skills.values()) for start in unlike] == [0.6, 0.6, 0.3, 0.3]
    assert [PopulationPlan(4, 4, "embedded", "unlike").pace_of(number) for number in range(4)] == [1, 1, 1, 2]
    assert {PLAN.pace_of(number) for number in range(4)} == {1}
    alike = starts("alike")
    assert all(start == alike[0] for start in alike) and set(alike[0].skills.values()) == {0.15}
    assert len({str(start.skills) for start in starts("specialists")}) == 4


def test_a_slow_node_keeps_its_reward_through_rounds_that_it_does_not_play() -> None:
    slow = course([0.25])
    slow.rest()
    assert (slow.rewards, slow.cpu, slow.tokens) == ([0.25, 0.25], [1.0, 0.0], [10, 0])
    fresh = NodeCourse(end=HeldOutScore(0.0, 0.0, {}))
    fresh.rest()
    assert fresh.rewards == [0.0]


def test_a_real_model_meets_five_small_tasks_of_one_library() -> None:
    config = config_of(arms_of(SPLITS)[0], 0, PopulationPlan(2, 1, "smollm2"), 0)
    assert config.policy.type == "text"
    tasks = [build_task(task.spec) for task in config.tasks]
    assert len(tasks) == 5
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
