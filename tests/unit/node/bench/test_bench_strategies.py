"""The strategies' benchmarks: their arithmetic, and APRIL's rounds on a random model."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.trained_node import pass_at
from node.bench.strategies import april, compare
from policies.rollout import Finish, Group, Problem, Rollout


def answered(*rewards: float) -> Group:
    problem = Problem("sort@1", 0, "", "")
    return Group(problem, tuple(Rollout("", (), Finish.STOP, reward) for reward in rewards))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_pass_at_k_is_the_share_of_k_answers_with_a_right_one_among_them(k: int) -> None:
    group = answered(1.0, 0.0, 0.5, 1.0, 0.0)
    draws = list(combinations(group.rewards, k))
    expected = sum(max(draw) == 1.0 for draw in draws) / len(draws)
    assert pass_at(k, group) == pytest.approx(expected)


def test_rows_give_the_mean_and_range_over_seeds() -> None:
    low, high = compare.HeldOutScore(0.2, 0.5), compare.HeldOutScore(0.4, 0.7)
    courses = [
        compare.StrategyCourse("grpo", low, low, low, 100, 24, 0.5, 0.1, 0.0),
        compare.StrategyCourse("grpo", low, high, low, 300, 30, 0.7, 0.3, 0.0),
    ]
    (row,) = compare.rows(courses)
    assert row["steps_pass_1"] == pytest.approx(0.3)
    assert (row["steps_pass_1_low"], row["steps_pass_1_high"]) == (0.2, 0.4)
    assert (row["tokens"], row["steps_to_budget"], row["usable_share"]) == (200, 27, pytest.approx(0.6))


def test_every_strategy_that_is_compared_can_be_configured(tmp_path: Path) -> None:
    from node.config.schema import parse_config

    for settings in compare.STRATEGIES.values():
        parse_config({"tasks": [{"name": "sort"}], "strategy": settings})


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(BenchError, match="no strategy 'dras'; did you mean 'dars'"):
        compare.run(BenchOptions(cases=("dras",)), lambda line: None)


def test_april_loses_nothing_and_idles_less(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 512}
    config = LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=16, **shape)
    monkeypatch.setattr(april, "load", lambda settings, device: (LlamaForCausalLM(config), None))
    monkeypatch.setattr(april, "ROUNDS", 2)
    report = april.run(BenchOptions(repeats=1), lambda line: None)
    checks = {check.name: check for check in report.checks}
    assert list(checks) == ["throughput_1.5", "throughput_2.0", "lost"]
    assert checks["lost"].holds
    plain, half, double = report.rows
    assert plain["stale_share"] == 0.0
    assert double["idle_share"] < plain["idle_share"]  # type: ignore[operator]
    assert 0.0 < half["stale_share"] < 1.0  # type: ignore[operator]
    assert double["oldest"] <= april.MAX_AGE  # type: ignore[operator]
    assert all(math.isfinite(check.ours) for check in report.checks)
