"""The best checkpoint outlives the newest ones, and gives way to a better one only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.config.sections.checkpoint import BestBy
from node.runtime.round_events import describe_evaluation
from node.storage.best_checkpoint import find_best, keep_if_best, value_of
from node.storage.checkpoint import CheckpointError, Checkpoints, NodeState
from node.storage.events import EvaluationEvent
from policies.rollout import Finish, Group, Problem, Rollout


class Weights:
    """As much of a policy as a checkpoint needs."""

    def __init__(self, value: str) -> None:
        self.value = value

    def save(self, folder: Path) -> None:
        (folder / "weights").write_text(self.value)


def played(
    checkpoints: Checkpoints, number: int, reward: float, right: float | None = None, by: BestBy = "reward"
) -> bool:
    state = NodeState(number, pool=[], guard={}, rollouts={})
    saved = checkpoints.save(Weights(f"of {number}"), state)  # type: ignore[arg-type]
    return keep_if_best(saved, EvaluationEvent(number, reward, {"sort@1": reward}, right), by)


def test_the_best_outlives_the_newest_and_equals_keep_the_older(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    assert [played(checkpoints, n, reward) for n, reward in enumerate((0.25, 0.5, 0.5, 0.25), 1)] == [
        True,
        True,
        False,
        False,
    ]
    best = find_best(tmp_path)
    assert best is not None and best.name == "best-00000002" and value_of(best) == 0.5
    assert (best / "policy" / "weights").read_text() == "of 2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-00000002", "round-00000004"]
    assert checkpoints.newest() == 4 and checkpoints.find() == tmp_path / "round-00000004"
    assert checkpoints.find(2) == best
    with pytest.raises(CheckpointError, match="only of 2, 4"):
        checkpoints.find(3)


def test_a_damaged_or_replayed_best_gives_way(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    played(checkpoints, 1, 0.5)
    (tmp_path / "best-00000001" / "evaluation.json").write_text("{")
    assert keep_if_best(tmp_path / "round-00000001", EvaluationEvent(1, 0.1, {}))
    best = find_best(tmp_path)
    assert best is not None and value_of(best) == 0.1


def test_the_share_that_is_right_chooses_apart_from_the_reward(tmp_path: Path) -> None:
    """A run that learns the form of answers alone has a rising reward, and nothing that is right."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    figures = [(0.30, 0.2), (0.55, 0.1), (0.40, 0.3), (0.90, 0.0)]  # reward, share right
    kept = [played(checkpoints, n, reward, right, "right") for n, (reward, right) in enumerate(figures, 1)]
    assert kept == [True, False, True, False]
    best = find_best(tmp_path)
    assert best is not None and best.name == "best-00000003" and value_of(best) == 0.3


def test_partial_credit_is_reward_and_not_right() -> None:
    def group(task: str, *rewards: float) -> Group:
        rollouts = tuple(Rollout("", (), Finish.STOP, reward) for reward in rewards)
        return Group(Problem(task, 1, "", ""), rollouts)

    event = describe_evaluation(4, [group("add@1", 1.0), group("add@1", 0.75), group("sort@1", 0.5)])
    assert event.reward == 0.75 and event.rewards_by_task == {"add@1": 0.875, "sort@1": 0.5}
    assert event.right == pytest.approx(1 / 3) and event.right_by_task == {"add@1": 0.5, "sort@1": 0.0}


def test_a_resumed_run_that_chooses_by_another_figure_begins_anew(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    played(checkpoints, 1, 0.9, 0.0)
    (tmp_path / "best-00000001" / "evaluation.json").write_text('{"reward": 0.9, "rewards_by_task": {}}\n')
    assert value_of(tmp_path / "best-00000001") == 0.9  # as an older version kept it
    assert played(checkpoints, 2, 0.4, 0.1, "right")
    assert not played(checkpoints, 3, 0.95, 0.1, "right")
    best = find_best(tmp_path)
    assert best is not None and best.name == "best-00000002"


def test_files_are_copied_where_they_cannot_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refused)
    assert played(Checkpoints(tmp_path, keep=1), 1, 0.5)
    assert (tmp_path / "best-00000001" / "policy" / "weights").read_text() == "of 1"
    assert find_best(tmp_path / "none") is None
