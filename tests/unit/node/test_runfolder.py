"""Run folders: one run each, numbered, locked while in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.config import load_config
from node.runfolder import RunFolder, RunFolderError, latest_run_folder, new_run_folder, write_atomic


def test_create_refuses_a_folder_with_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a")
    folder.create(load_config("tiny"))
    assert folder.read_config() == load_config("tiny")
    with pytest.raises(RunFolderError, match="--resume"):
        folder.create(load_config("tiny"))


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run"):
        RunFolder(tmp_path).read_config()
    with pytest.raises(RunFolderError, match="no run named tiny"):
        latest_run_folder("tiny", tmp_path)


def test_numbers_count_up_and_ignore_strangers(tmp_path: Path) -> None:
    assert new_run_folder("tiny", tmp_path).path == tmp_path / "tiny-1"
    for name in ("tiny-1", "tiny-10", "tiny-x", "tinier-40"):
        (tmp_path / name).mkdir()
    assert new_run_folder("tiny", tmp_path).path == tmp_path / "tiny-11"
    assert latest_run_folder("tiny", tmp_path).path == tmp_path / "tiny-10"


def test_lock_keeps_a_second_node_out_until_released(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    holder = folder.lock()
    with pytest.raises(RunFolderError, match="in use"):
        folder.lock()
    holder.close()
    folder.lock().close()


def test_write_atomic_replaces_and_leaves_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    write_atomic(target, "old")
    write_atomic(target, "new")
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
