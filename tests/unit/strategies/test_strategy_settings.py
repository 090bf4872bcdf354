"""Settings of strategies: what is refused, with the way out, and what they build."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from policies.policy import Stale
from policies.strategies import build_strategy
from policies.strategies.april import April
from policies.strategies.brorl import Brorl
from policies.strategies.dars import Dars
from policies.strategies.grpo import Grpo
from policies.strategies.settings import AprilSettings, DarsSettings, StrategySettings

ADAPTER: TypeAdapter[Any] = TypeAdapter(StrategySettings)
TWICE = {"type": "dars", "breadth": {"epochs": 2}}


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        ({"type": "grpo", "rollouts": 1}, "set 2 or more"),
        ({"type": "brorl", "rollouts": 1}, "set 2 or more"),
        ({"type": "brorl", "rollouts": 16, "keep": 17}, "set 2 to 16"),
        ({"type": "brorl", "keep": 1}, "leave it out"),
        ({"type": "brorl", "clip": (1.0, 0.2)}, "set \\(0.2, 0.27\\)"),
        ({"type": "brorl", "clip": (-0.1, 0.2)}, "set \\(0.2, 0.27\\)"),
        ({"type": "brorl", "clip": (0.2, 0.0)}, "set \\(0.2, 0.27\\)"),
        ({"type": "grpo", "rollouts": 1025}, "set 1024 at most"),
        ({"type": "dars", "max_rollouts": 1025}, "set 1024 at most"),
        ({"type": "brorl", "replace": -1}, "greater than or equal to 0"),
        ({"type": "dars", "rollouts": 16, "max_rollouts": 8}, "raise max_rollouts"),
        ({"type": "dars", "token_budget": 0}, "greater than 0"),
        ({"type": "grpo", "focal_gamma": -0.5}, "greater than or equal to 0"),
        ({"type": "april", "oversample": 0.9}, "set 1.25 to 2"),
        ({"type": "april", "oversample": 16.1}, "set 1.25 to 2"),
        ({"type": "april", "oversample": float("nan")}, "finite number"),
        ({"type": "april", "max_age": 0}, "greater than 0"),
        ({"type": "april", "inner": {"type": "april"}}, "'grpo', 'brorl', 'dars'"),
        ({"type": "april", "inner": {"type": "grpo", "rollouts": 1}}, "set 2 or more"),
        ({"type": "april", "stale": "recompute", "inner": TWICE}, 'stale = "behaviour", or'),
        ({"type": "april", "stale": "none"}, "'behaviour', 'recompute' or 'mask'"),
        ({"type": "dars", "epochs": 2}, "Extra inputs"),
    ],
)
def test_bad_settings_are_refused_with_the_way_out(settings: dict[str, Any], fix: str) -> None:
    with pytest.raises(ValidationError, match=fix):
        ADAPTER.validate_python(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "grpo", "rollouts": 2},
        {"type": "grpo", "rollouts": 1024},
        {"type": "grpo", "keep_zero_advantage": True},
        {"type": "grpo", "replace": 1.0},
        {"type": "brorl", "rollouts": 16, "keep": 2},
        {"type": "brorl", "rollouts": 16, "keep": 16},
        {"type": "brorl", "clip": (0.0, 0.1)},
        {"type": "dars", "rollouts": 16, "max_rollouts": 16},
        {"type": "april", "oversample": 1.0},
        {"type": "april", "oversample": 16.0},
        {"type": "april", "stale": "recompute", "inner": {"type": "dars", "breadth": {"epochs": 1}}},
    ],
)
def test_what_is_just_within_bounds_is_taken(settings: dict[str, Any]) -> None:
    assert ADAPTER.validate_python(settings).type == settings["type"]


@pytest.mark.parametrize("stale", ["behaviour", "mask"])
def test_several_epochs_go_with_importance_correction(stale: str) -> None:
    settings = ADAPTER.validate_python({"type": "april", "stale": stale, "inner": TWICE})
    assert settings.stale is Stale(stale)


def test_one_epoch_needs_none() -> None:
    assert ADAPTER.validate_python({"type": "april", "stale": "recompute"}).stale is Stale.RECOMPUTE


@pytest.mark.parametrize(
    ("name", "strategy"), [("grpo", Grpo), ("brorl", Brorl), ("dars", Dars), ("april", April)]
)
def test_every_strategy_has_defaults(name: str, strategy: type) -> None:
    built = build_strategy(ADAPTER.validate_python({"type": name}))
    assert type(built) is strategy
    assert ADAPTER.validate_json(ADAPTER.dump_json(built.settings)) == built.settings


def test_the_default_of_april_is_adaptive_breadth() -> None:
    built = build_strategy(AprilSettings())
    assert isinstance(built, April) and isinstance(built.inner, Dars)
    assert built.inner.settings == DarsSettings(rollouts=16, max_rollouts=512, schedule="hardness")
