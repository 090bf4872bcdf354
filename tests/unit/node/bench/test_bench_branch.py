"""The figures of `bench branch` from made-up curves, its counts, and its picture."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest

from node.bench.branch import arms, run
from node.bench.branch.arms import ARMS, Point
from node.bench.branch.plot import draw
from node.bench.branch.run import at, checks, place_of
from node.bench.kit.options import BenchError, BenchOptions
from policies.diffusion.settings import DigitsSource, TreeSettings
from policies.tasks import digit_scorers


def curve(*rewards: float, seconds: float, judged: float = 0.5) -> list[Point]:
    """One point an iteration; `seconds` an iteration, and a judge that follows the reward from `judged`."""
    return [
        Point(i, reward, judged + reward / 10, i * seconds / 2, i * seconds / 2, 10 * i, i)
        for i, reward in enumerate(rewards)
    ]


def race(**curves: list[Point]) -> dict[str, object]:
    return {name: SimpleNamespace(points=points) for name, points in curves.items()}


def test_the_figures_are_those_of_the_curves() -> None:
    sequential = curve(0.0, 0.2, 0.4, 0.6, seconds=10)
    ours = curve(0.0, 0.5, 0.7, 0.8, seconds=2, judged=0.49)
    pruned = curve(0.0, 0.1, 0.2, 0.3, seconds=5)
    mix = curve(0.0, 0.3, 0.5, 0.6, seconds=4)
    arms = race(sequential=sequential, branch=ours, pruned=pruned, mix=mix)
    found = {check.name: check for check in checks([arms])}  # type: ignore[list-item]
    assert found["half_cpu"].ours == pytest.approx(1.5 * 2 / 30) and found["half_cpu"].holds
    assert found["judge_gap"].ours == pytest.approx(-0.01) and found["judge_gap"].holds
    assert found["our_ratio"].ours == pytest.approx(5) and found["our_ratio"].holds
    assert found["mix_ratio"].ours == pytest.approx(2.5) and not found["mix_ratio"].holds
    assert found["pruned_ratio"].ours == pytest.approx(2) and not found["pruned_ratio"].holds


def test_a_reward_that_is_not_reached_costs_infinitely_much() -> None:
    low, high = curve(0.0, 0.3, seconds=1), curve(0.0, 0.9, seconds=9)
    (half,) = [check for check in checks([race(sequential=high, branch=low)]) if check.name == "half_cpu"]  # type: ignore[list-item]
    assert half.ours == math.inf and not half.holds
    assert checks([race(branch=low)]) == []  # type: ignore[list-item]


def test_places_between_points() -> None:
    points = curve(0.1, 0.3, 0.2, 0.7, seconds=4)
    assert place_of(points, 0.05) == 0
    assert place_of(points, 0.2) == pytest.approx(0.5)
    assert place_of(points, 0.45) == pytest.approx(2.5)
    assert at(points, 2.5, "seconds") == pytest.approx(10)
    assert at(points, 3, "reward") == pytest.approx(0.7)


@pytest.mark.parametrize("name", ARMS)
def test_arms_are_settings(name: str) -> None:
    settings = TreeSettings.model_validate(ARMS[name])
    assert settings.eta in (0.0, 0.5)
    assert (settings.pruned is not None) == (name == "pruned")


def test_a_small_race_counts_what_it_evaluates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(digit_scorers, "STEPS", 2)
    tiny = DigitsSource(layers=1, heads=2, head_width=4, prompt_width=8, start_steps=3, batch=8)
    monkeypatch.setattr(run, "DigitsSource", lambda: tiny)
    monkeypatch.setattr(arms, "SHOWN", 10)
    monkeypatch.setattr(arms, "PROMPTS", 1)
    picture = tmp_path / "curves.svg"
    options = BenchOptions(repeats=1, rounds=1, cases=("branchgrpo", "nft"), plot=picture)
    report = run.run(options, lambda line: None)
    assert {(row["arm"], row["iteration"]) for row in report.rows} == {
        (arm, iteration) for arm in options.cases for iteration in (0, 1)
    }
    last = {row["arm"]: row for row in report.rows if row["iteration"] == 1}
    assert (last["branchgrpo"]["sampled"], last["branchgrpo"]["trained"]) == (203, 187)
    images = 16 * 6
    assert (last["nft"]["sampled"], last["nft"]["trained"]) == (16 * 10 + 2 * images, images)
    assert last["nft"]["evaluations"] == 16 * 10 + 5 * images
    ElementTree.parse(picture)


def test_an_unknown_arm_is_refused() -> None:
    with pytest.raises(BenchError, match="did you mean 'branch'"):
        run.run(BenchOptions(cases=("brunch",)), lambda line: None)


def test_the_picture_has_a_curve_and_a_name_an_arm() -> None:
    curves = {
        "branch": [curve(0.1, 0.3, seconds=1), curve(0.2, 0.4, seconds=1)],
        "nft": [curve(0.1, 0.9, seconds=2)],
    }
    root = ElementTree.fromstring(draw(curves))
    space = "{http://www.w3.org/2000/svg}"
    assert len(list(root.iter(f"{space}polyline"))) == 4 * 2
    assert {"branch", "nft"} <= {text.text for text in root.iter(f"{space}text")}
