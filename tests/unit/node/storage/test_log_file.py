"""The log file: what cannot be written is lost without a word on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.storage.log_file import log_to_file


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, raising = logging.getLogger(), logging.raiseExceptions
    handlers, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    for handler in set(handlers) - set(root.handlers):
        root.addHandler(handler)
    root.setLevel(level)
    logging.raiseExceptions = raising


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_not_told_by_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "node.log").symlink_to("/dev/full")
    log_to_file(tmp_path)
    logging.getLogger("node").warning("something to keep")
    assert capfd.readouterr().err == ""


def test_records_of_ours_are_kept(tmp_path: Path) -> None:
    log_to_file(tmp_path)
    logging.getLogger("node.x").info("something to keep")
    assert "something to keep" in (tmp_path / "node.log").read_text()
