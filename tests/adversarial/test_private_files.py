"""Stores and logs of a run are for its owner's account alone, whatever the umask, also after they are rotated."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.storage import log_file
from node.storage.events import LifeEvent, Store
from swarm.process import keep_private


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.parametrize("there_before", [False, True])
def test_an_event_store_and_its_side_files(tmp_path: Path, there_before: bool) -> None:
    path = tmp_path / "events.sqlite"
    if there_before:
        path.touch(0o644)
    store = Store(path)
    store.append(LifeEvent(0, "started"))
    assert set(modes(tmp_path)) == {"events.sqlite", "events.sqlite-wal", "events.sqlite-shm"}
    assert set(modes(tmp_path).values()) == {0o600}


def test_logs_before_and_after_they_are_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "MAX_BYTES", 200)
    root = logging.getLogger()
    before, level, raised = root.handlers[:], root.level, logging.raiseExceptions
    try:
        log_file.log_to_file(tmp_path)
        for _ in range(20):
            logging.getLogger("node").warning("some words that fill a log")
    finally:
        root.handlers[:], logging.raiseExceptions = before, raised
        root.setLevel(level)
    assert modes(tmp_path) == dict.fromkeys(("node.log", "node.log.1", "node.log.2"), 0o600)


def test_a_file_that_was_open_to_others_is_closed_to_them_and_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_text("words")
    keep_private(path)
    assert (modes(tmp_path), path.read_text()) == ({"output.log": 0o600}, "words")
