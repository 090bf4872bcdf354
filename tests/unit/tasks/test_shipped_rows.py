"""The rows of the presets: all can be used, some are kept for evaluation, and right answers are told from junk."""

from __future__ import annotations

import pytest

from node.config.reading import PRESETS, load_config
from policies.tasks.data_task import build_data_task


@pytest.mark.parametrize("preset", ["gsm8k", "choice"])
def test_shipped_rows_are_whole(preset: str) -> None:
    [config] = load_config(preset).tasks
    assert config.path.startswith(str(PRESETS[-1]))
    task = build_data_task(config.spec)
    assert len(task.training) + len(task.held_out) == 40 and len(task.held_out) >= 2
    for _, answer in (*task.training, *task.held_out):
        final = answer.rpartition("#### ")[2]
        assert task.verifier.score(f"so <answer>{final}</answer>", answer) == 1.0
        assert task.verifier.score("I do not know", answer) == 0.0
