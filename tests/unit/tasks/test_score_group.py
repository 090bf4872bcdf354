"""Scoring of a whole group: whatever a verifier gives, rewards are finite numbers."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from policies.rollout import Finish, Group, Image, Problem, Rollout
from policies.tasks.task import score_group

BROKEN = [math.nan, math.inf, -math.inf]


@dataclass(frozen=True)
class Texts:
    rewards: dict[str, float]
    name: str = "texts@1"

    def problem(self, seed: int) -> Problem:
        return Problem(self.name, seed, "?", "")

    def score(self, problem: Problem, completion: str) -> float:
        return self.rewards[completion]


@dataclass(frozen=True)
class Images:
    rewards: Sequence[float]
    name: str = "images@1"

    def problem(self, seed: int) -> Problem:
        return Problem(self.name, seed, "?", "")

    def score_images(self, problem: Problem, images: Sequence[Image]) -> list[float]:
        return list(self.rewards)[: len(images)]


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_reward_that_is_not_finite_counts_as_zero(wrong: float, caplog: pytest.LogCaptureFixture) -> None:
    task = Texts({"a": 0.5, "b": wrong, "c": 1.0})
    group = Group(task.problem(1), tuple(Rollout(text, (), Finish.STOP) for text in "abc"))
    with caplog.at_level(logging.WARNING):
        assert score_group(task, group).rewards == (0.5, 0.0, 1.0)
    assert f"texts@1 gave {wrong}" in caplog.text


@pytest.mark.parametrize("wrong", BROKEN)
def test_of_images_too_and_a_text_among_them_counts_as_zero(wrong: float) -> None:
    task, image = Images([wrong, 0.25]), Image(1, 1, 1, b"\0")
    rollouts = (
        Rollout("", (), Finish.STOP, image=image),
        Rollout("a text", (), Finish.STOP),
        Rollout("", (), Finish.STOP, image=image),
    )
    assert score_group(task, Group(task.problem(1), rollouts)).rewards == (0.0, 0.0, 0.25)
