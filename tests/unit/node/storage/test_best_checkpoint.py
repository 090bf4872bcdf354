"""The best checkpoint outlives the newest ones, and gives way to a better one only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.storage.best_checkpoint import find_best, keep_if_best, reward_of
from node.storage.checkpoint import CheckpointError, Checkpoints, NodeState
from node.storage.events import EvaluationEvent


class Weights:
    """As much of a policy as a checkpoint needs."""

    def __init__(self, value: str) -> None:
        self.value = value

    def save(self, folder: Path) -> None:
        (folder / "weights").write_text(self.value)


def played(checkpoints: Checkpoints, number: int, reward: float) -> bool:
    state = NodeState(number, pool=[], guard={}, rollouts={})
    saved = checkpoints.save(Weights(f"of {number}"), state)  # type: ignore[arg-type]
    return keep_if_best(saved, EvaluationEvent(number, reward, {"sort@1": reward}))


def test_the_best_outlives_the_newest_and_equals_keep_the_older(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    assert [played(checkpoints, n, reward) for n, reward in enumerate((0.25, 0.5, 0.5, 0.25), 1)] == [
        True,
        True,
        False,
        False,
    ]
    best = find_best(tmp_path)
    assert best is not None and best.name == "best-00000002" and reward_of(best) == 0.5
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
    assert best is not None and reward_of(best) == 0.1


def test_files_are_copied_where_they_cannot_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refused)
    assert played(Checkpoints(tmp_path, keep=1), 1, 0.5)
    assert (tmp_path / "best-00000001" / "policy" / "weights").read_text() == "of 1"
    assert find_best(tmp_path / "none") is None
