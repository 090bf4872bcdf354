"""The progress file of a saved policy: what comes back, and what is refused instead of read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from policies.policy import PolicyError
from policies.progress import PROGRESS_FILE, read_progress, save_progress

TRAINER: dict[str, Any] = {"optimizer": {"state": {0: torch.arange(300.0)}}, "step": 7}


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    save_progress(tmp_path, TRAINER, 12, "tiny-1")
    trainer, version = read_progress(tmp_path, "tiny-1")
    assert version == 12 and trainer["step"] == 7
    assert torch.equal(trainer["optimizer"]["state"][0], TRAINER["optimizer"]["state"][0])


def test_a_save_of_another_policy_is_named(tmp_path: Path) -> None:
    save_progress(tmp_path, TRAINER, 12, "tiny-1")
    with pytest.raises(PolicyError, match="was saved by tiny-1, this policy is other-2"):
        read_progress(tmp_path, "other-2")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_a_torn_file_is_refused_with_what_to_do(tmp_path: Path, share: float) -> None:
    save_progress(tmp_path, TRAINER, 12, "tiny-1")
    file = tmp_path / PROGRESS_FILE
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(PolicyError, match="resume from another checkpoint"):
        read_progress(tmp_path, "tiny-1")


@pytest.mark.parametrize("content", [b"\x00" * 500, b"not a checkpoint", b"\x80\x02."])
def test_any_other_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / PROGRESS_FILE).write_bytes(content)
    with pytest.raises(PolicyError, match="resume from another checkpoint"):
        read_progress(tmp_path, "tiny-1")


@pytest.mark.parametrize("content", [[1, 2], {"trainer": {}}, torch.ones(2)])
def test_another_value_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / PROGRESS_FILE)
    with pytest.raises(PolicyError, match="not the progress of a policy"):
        read_progress(tmp_path, "tiny-1")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        read_progress(tmp_path, "tiny-1")
