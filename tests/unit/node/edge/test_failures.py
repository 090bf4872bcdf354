"""Errors at the edge: every kind that a disk, a permission or a file can cause is one line with what to do."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import murmur

from node import failures
from node.ui import interrupts

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("number", sorted(failures.SYSTEM_ERRORS))
def test_a_system_error_says_what_to_do_and_what_was_saved(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interrupts, "_advice", [lambda: "saved is round 7"])
    error = OSError(number, os.strerror(number), "/disk/state.json")
    assert failures.end_with(error) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.endswith("; saved is round 7\n")
    assert ": " in said.removeprefix("murmur: ") and "Errno" not in said and "{" not in said


def test_an_error_that_is_ours_is_kept_whole_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    try:
        raise AssertionError("never so")
    except AssertionError as error:
        assert failures.end_with(error) == 1
    said = capsys.readouterr().err
    [file] = tmp_path.iterdir()
    assert said.count("\n") == 1 and str(file) in said
    assert "Traceback" in file.read_text() and "never so" in file.read_text()


def test_words_of_our_own_are_told_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.end_with(OSError("this account has no home folder: set HOME")) == 3
    assert capsys.readouterr().err == "murmur: this account has no home folder: set HOME\n"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), sqlite3.OperationalError("database or disk is full"), OSError("odd"), OSError(999, "x")],
)
def test_other_errors_of_the_machine_are_its_users_to_mend(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failures.end_with(error) == 3
    assert capsys.readouterr().err.startswith("murmur: ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), 3),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 3),
        (ImportError("cannot import name 'x'", name="node.cli"), 1),
    ],
)
def test_a_library_that_cannot_be_loaded_is_its_installers_to_mend(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failures.end_with(error) == code
    assert ("install anew" in capsys.readouterr().err) == (code == 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rounds = = 3", "not valid TOML"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"", "tasks: missing"),
        (b"\0", "TOML"),
    ],
)
def test_a_damaged_config_file_is_named(
    content: bytes,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_bytes(content)
    for verb in ("run", "silo"):
        told = murmur(monkeypatch, capsys, verb, "mine.toml")
        assert told.code == 2 and message in told.err
    told = murmur(monkeypatch, capsys, "run", "x" * 300 + "/y.toml")
    assert told.code in (2, 3) and told.err.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    cases = [
        ("file", "murmur: file is a file, not a folder"),
        ("file/x", "is a file, not a folder"),
        ("y" * 300, f"the path {'y' * 60}… (300 characters) is too long: choose a shorter one"),
        ("/proc/x", "murmur: /proc/x lies in a folder of the system's own, where nothing can be made"),
    ]
    for run_dir, message in cases:
        told = murmur(monkeypatch, capsys, "silo", "--run-dir", run_dir)
        assert (told.code, told.err.count("\n")) == (3, 1) and message in told.err, told
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_ctrl_c_anywhere_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("node.ui.peers.show_peers", lambda *a, **k: interrupted())
    told = murmur(monkeypatch, capsys, "peers", "--run-dir", "x")
    assert (told.code, told.err) == (128 + 2, "murmur: stopped by Ctrl-C\n")


@pytest.mark.parametrize("number", interrupts.NUMBERS, ids=lambda number: number.name)
def test_no_signal_that_a_person_or_a_scheduler_sends_ends_a_command_without_a_word(number: int) -> None:
    asked = (
        f"from node.ui import interrupts as i; import signal; i.end_at_once(); signal.raise_signal({number})"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + number, f"murmur: {interrupts.cause(number)}\n")


def test_ctrl_c_amid_the_first_imports_leaves_no_trace() -> None:
    moment = (
        "import builtins, signal; given = builtins.__import__\n"
        "def come(name, *more, **named):\n"
        "    if name == 'node.ui.interrupts': signal.raise_signal(signal.SIGINT)\n"
        "    return given(name, *more, **named)\n"
        "builtins.__import__ = come\n"
        "from node.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", moment], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.usefixtures("signals_heard")
@pytest.mark.parametrize("number", interrupts.ASKING, ids=lambda number: number.name)
def test_a_signal_that_asks_for_the_end_is_raised(number: int) -> None:
    interrupts.raise_stopped()
    with pytest.raises(interrupts.Stopped):
        signal.raise_signal(number)


def test_a_folder_that_is_gone_below_the_command_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for arguments in (["config", "show", "tiny"], ["silo", "tiny"], ["init"], ["bootstrap"]):
        told = murmur(monkeypatch, capsys, *arguments)
        assert told.code == 3 and "was started is gone: cd to one that is there" in told.err, told


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["config", "show", "tiny"], ["tasks"]])
def test_output_that_no_disk_takes_is_told(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "node", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 3 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("murmur: standard output cannot be written: the disk is full: "), (
        done.stderr
    )


def test_letters_that_a_terminal_lacks_are_shown_by_their_numbers(tmp_path: Path) -> None:
    """Also in the names of files, which may hold bytes that are no letters at all."""
    place = os.fsencode(tmp_path) + b"/caf\xe9"
    Path(os.fsdecode(place)).mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "node", "init"],
        cwd=place,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("words", [["stats", "x\x1b[2J\u202e"], ["tasks", "check", "bad.py:Own"]])
def test_what_is_told_of_names_and_errors_moves_no_cursor(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "bad.py").write_text(
        "class Own:\n    def problem(self, seed): return f'{seed}?', '1'\n"
        "    def score(self, problem, completion): raise ValueError('\\x1b[2J\\u202e')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "node", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and r"\x1b[2J\u202e" in done.stderr, done.stderr
    assert all(character.isprintable() or character == "\n" for character in done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("words", "code"),
    [("runs >&-", 0), ("runs <&- >&- 2>&-", 0), ("silo nowhere.toml 2>&-", 2)],
)
def test_a_closed_standard_stream_is_no_reason_to_end(tmp_path: Path, words: str, code: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m node {words}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code and "fault" not in done.stdout + done.stderr, done


def test_no_file_gets_the_number_of_a_closed_stream() -> None:
    opened = (
        "from node.__main__ import open_closed_streams as o; o(); import os, sys; sys.exit(os.open('.', 0))"
    )
    done = subprocess.run(
        ["sh", "-c", f'{sys.executable} -c "{opened}" <&- >&- 2>&-'],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode > 2
