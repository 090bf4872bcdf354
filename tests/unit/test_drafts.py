"""Drafts of several processes in one place: each is left alone while its writer lives, and goes when it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from policies.drafts import clear_all_drafts, clear_drafts, draft_file, draft_folder

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from policies.drafts import draft_file, draft_folder
place = Path(sys.argv[2])
with (draft_folder(place) if sys.argv[1] == "folder" else draft_file(place, 0o600)) as draft:
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_anothers_draft_stays_while_it_lives_and_goes_once_it_was_killed(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "out[1]"
    command = [sys.executable, "-P", "-c", HOLD, kind, str(place)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        (theirs,) = tmp_path.iterdir()
        assert clear_drafts(place) and theirs.exists()
        clear_all_drafts(tmp_path)
        with draft_folder(place) as ours:
            assert theirs.exists() and ours.is_dir() and ours != theirs
        with draft_file(place, 0o600):
            assert theirs.exists()
        assert [*tmp_path.iterdir()] == [theirs]
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert theirs.exists()
    assert not clear_drafts(place) and [*tmp_path.iterdir()] == []


def test_what_only_looks_like_a_draft_stays(tmp_path: Path) -> None:
    for name in (".draft-out", ".draft-out-notes", f".draft-other-{'0' * 16}"):
        (tmp_path / name).mkdir()
    assert not clear_drafts(tmp_path / "out") and len([*tmp_path.iterdir()]) == 3


def test_a_draft_in_no_folder_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), draft_file(tmp_path / "none" / "file", 0o600):
        raise AssertionError("no draft can be there")
