"""Which of a swarm's tasks a node takes up: those that its policy can."""

from __future__ import annotations

import logging

import pytest

from node.config.schema import ConfigError, parse_config
from node.runtime.build import tasks_of

BOTH = [{"name": "sort"}, {"name": "digits", "weight": 2.0}, {"name": "rg:chain_sum"}]


def test_a_text_policy_leaves_images_to_others(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        mine, beside = tasks_of(parse_config({"tasks": BOTH}))
    assert ([task.name for task in mine], beside) == (["sort", "rg:chain_sum"], {"digits"})
    assert "left to other nodes, as the own policy cannot take them: digits" in caplog.text


def test_a_diffusion_policy_leaves_text_to_others() -> None:
    mine, beside = tasks_of(parse_config({"tasks": BOTH, "policy": {"type": "diffusion"}}))
    assert ([task.name for task in mine], beside) == (["digits"], {"sort", "rg:chain_sum"})
    assert mine[0].weight == 2.0


def test_a_policy_that_can_take_no_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="tasks: digits ask for images, and this policy makes text"):
        tasks_of(parse_config({"tasks": [{"name": "digits"}]}))
