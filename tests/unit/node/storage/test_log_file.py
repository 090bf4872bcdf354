"""The log file: what cannot be written is lost without a word on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.storage import log_file
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


def test_what_other_processes_append_is_bounded_while_they_hold_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "MAX_BYTES", 1000)
    with (tmp_path / "transport.log").open("ab", buffering=0) as theirs:
        for number in range(200):
            theirs.write(b"%03d %s\n" % (number, b"x" * 95))
            log_file.bound_logs(tmp_path, tmp_path / "not there")
    assert (tmp_path / "transport.log").stat().st_size <= 1100
    lines = (tmp_path / "transport.log.1").read_bytes() + (tmp_path / "transport.log").read_bytes()
    assert lines.splitlines()[-1].startswith(b"199") and b"\0" not in lines
    assert {path.name for path in tmp_path.iterdir()} == {"transport.log", "transport.log.1"}


def test_nothing_in_a_log_moves_a_cursor(tmp_path: Path) -> None:
    """A reward's error may hold what a peer wrote."""
    log_to_file(tmp_path)
    try:
        raise ValueError("\x1b[2J\u202e\u2028\ud800 of a stranger")
    except ValueError:
        logging.getLogger("node").exception("no verdict on \r\x07\u00e9")
    kept = (tmp_path / "node.log").read_text()
    assert all(character.isprintable() or character == "\n" for character in kept)
    assert (
        r"no verdict on \r\x07\xe9".replace(r"\xe9", "\u00e9") in kept
        and r"\x1b[2J\u202e\u2028\ud800 of" in kept
    )
    assert "Traceback" in kept
