"""Signals, full disks and damaged files: one line, no traceback, and what was saved goes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from murmur_command import ENVIRONMENT, MURMUR, QUICK, murmur, start
from test_silo import wait_for_round

pytestmark = pytest.mark.e2e

RUN = ("silo", "tiny", *QUICK, "--set", "checkpoint.every=1", "--rounds", "10000", "--run-dir", "run")


def in_words(output: str) -> str:
    """The one line that an end is told by."""
    assert "Traceback" not in output and "Error:" not in output, output
    [line] = [line for line in output.splitlines() if line.startswith("murmur: ")]
    return line


def said_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    seen = ""
    while words not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    return seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_while_loading_is_one_line_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(*RUN, cwd=tmp_path)
    seen = said_until(process, "run folder run")  # torch is being imported
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "nothing was saved" in in_words(seen + output)
    assert list(tmp_path.iterdir()) == []


def test_the_second_ctrl_c_ends_at_once_and_says_what_is_saved(tmp_path: Path) -> None:
    process = start(*RUN, cwd=tmp_path)
    wait_for_round(tmp_path / "run", 2)
    process.send_signal(signal.SIGINT)
    said_until(process, "press Ctrl-C again")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    if process.returncode == 0:  # the round and its checkpoint were done before the second came
        assert "stopped and saved" in output
    else:
        assert process.returncode == 128 + signal.SIGINT
        assert "saved is round" in in_words(output) and "run --resume --run-dir run" in output
    resumed = murmur("run", "--resume", "--run-dir", "run", "--rounds", "3", cwd=tmp_path)
    assert resumed.returncode in (0, 2) and "Traceback" not in resumed.stderr


def test_a_second_process_in_a_run_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    process = start(*RUN, cwd=tmp_path)
    wait_for_round(tmp_path / "run", 1)
    for verb in (("run", "--resume"), RUN[:-2]):
        second = murmur(*verb, "--run-dir", "run", cwd=tmp_path)
        assert second.returncode == 2 and "run is in use by another node" in in_words(second.stderr)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "stopped and saved after round" in output


def test_ctrl_backslash_ends_at_once_and_says_what_is_saved(tmp_path: Path) -> None:
    process = start(*RUN, cwd=tmp_path)
    wait_for_round(tmp_path / "run", 2)
    process.send_signal(signal.SIGQUIT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGQUIT
    assert "stopped by Ctrl-\\; saved is round" in in_words(output)
    assert (tmp_path / "run" / "ended.txt").read_text() == "stopped by Ctrl-\\\n"


def test_sigterm_saves_as_ctrl_c_does(tmp_path: Path) -> None:
    process = start(*RUN, cwd=tmp_path)
    wait_for_round(tmp_path / "run", 1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "stopped and saved after round" in output
    assert "told to stop by SIGTERM" in output and "Ctrl-C" not in output


def test_a_reader_that_goes_away_ends_the_run_saved(tmp_path: Path) -> None:
    process = start(*RUN, cwd=tmp_path)
    said_until(process, "started")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(120) == 141  # as a shell tells of SIGPIPE: it is not done
    assert list((tmp_path / "run" / "checkpoints").iterdir())


def test_output_that_no_disk_takes_ends_the_run_saved_and_is_told(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [*MURMUR, *RUN]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=150,
        )
    told = in_words(done.stderr)
    assert done.returncode == 3 and "standard output cannot be written: the disk is full" in told
    assert "saved is round" in told and "run --resume --run-dir run" in told


def can_mount() -> bool:
    tried = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    return tried.returncode == 0


def on_small_disk(size: str, options: str = "rw") -> list[str]:
    """Runs a command with `disk` being a file system of its own, of `size`."""
    mount = f'mount -t tmpfs -o size={size} none disk && mount -o remount,{options} disk && exec "$@"'
    return ["unshare", "-rm", "sh", "-c", mount, "sh"]


needs_mounts = pytest.mark.skipif(not can_mount(), reason="no user namespaces to mount a small disk in")


@needs_mounts
@pytest.mark.parametrize(("size", "options"), [("8k", "rw"), ("4m", "ro")])
def test_a_disk_that_takes_nothing_is_named_before_the_first_round(
    tmp_path: Path, size: str, options: str
) -> None:
    (tmp_path / "disk").mkdir()
    done = murmur(*RUN[:-1], "disk/run", cwd=tmp_path, prefix=on_small_disk(size, options))
    assert done.returncode == 3, done.stderr
    assert any(words in in_words(done.stderr) for words in ("disk is full", "read-only", "has space"))


@needs_mounts
def test_a_disk_that_fills_up_says_what_is_saved(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    done = murmur(*RUN[:-1], "disk/run", cwd=tmp_path, prefix=on_small_disk("14m"))
    assert done.returncode == 3, done.stderr
    told = in_words(done.stderr)
    assert "saved is round" in told and "run --resume --run-dir disk/run" in told


def test_a_run_whose_folder_is_moved_ends_and_says_where_it_goes_on(tmp_path: Path) -> None:
    process = start(*RUN, cwd=tmp_path)
    wait_for_round(tmp_path / "run", 2)
    (tmp_path / "run").rename(tmp_path / "other")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3, output
    told = in_words(output)
    assert "the run folder run was taken away" in told and not (tmp_path / "run").exists()
    assert "saved is round" in told and "other" in told.partition("go on with: ")[2]


def test_a_limit_on_file_sizes_is_told(tmp_path: Path) -> None:
    done = murmur(*RUN, cwd=tmp_path, prefix=["prlimit", "--fsize=200000"])
    assert done.returncode == 3 and "round-00000001 cannot be written" in in_words(done.stderr), done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    done = murmur(*RUN[:-3], "2", "--run-dir", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def damaged(finished: Path, tmp_path: Path, name: str, how: str) -> Path:
    """A copy of the run in which one file is cut at a share of its length, or overwritten from there."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    [file] = run.glob(name)
    content, (kind, share) = file.read_bytes(), how.split()
    place = int(len(content) * float(share))
    file.write_bytes(content[:place] + (b"" if kind == "cut" else b"\x00\xff" * 8 + content[place + 16 :]))
    return run


@needs_mounts
@pytest.mark.parametrize("free", ["0", "24K"])
def test_a_run_that_goes_on_with_a_full_disk_says_what_is_saved(
    finished: Path, tmp_path: Path, free: str
) -> None:
    (tmp_path / "disk").mkdir()
    shutil.copytree(finished, tmp_path / "run")
    fill = f"cp -r run disk/run; cat /dev/zero >disk/fill 2>disk/fill; truncate -s -{free} disk/fill"
    full = f'mount -t tmpfs -o size=40m none disk && {{ {fill}; exec "$@"; }}'
    again = ("run", "--resume", "--run-dir", "disk/run", "--rounds", "4")
    done = murmur(*again, cwd=tmp_path, prefix=["unshare", "-rm", "sh", "-c", full, "sh"])
    assert done.returncode == 3, done.stderr
    told = in_words(done.stderr)
    assert any(words in told for words in ("disk is full", "has space", "has room")), told
    assert "saved is round 2" in told and "run --resume --run-dir disk/run" in told


FILES = [
    "config.json",
    "identity.key",
    "events.sqlite",
    "checkpoints/round-00000002/state.json",
    "checkpoints/round-00000002/policy/*.safetensors",
    "checkpoints/round-00000002/policy/*.pt",
]


def resumed_in_words(run: Path) -> None:
    done = murmur("run", "--resume", "--run-dir", "run", "--rounds", "3", cwd=run.parent)
    if done.returncode:  # a damage that a reader cannot see, such as other digits, is no fault to tell
        assert done.returncode in (2, 3), done.stderr
        assert str(Path("run")) in in_words(done.stderr)


@pytest.mark.parametrize("name", ["config.json", "identity.key", "events.sqlite"])
def test_a_cut_file_of_the_run_is_named_with_what_to_do(finished: Path, tmp_path: Path, name: str) -> None:
    run = damaged(finished, tmp_path, name, "cut 0.5")
    done = murmur("run", "--resume", "--run-dir", "run", "--rounds", "3", cwd=tmp_path)
    assert done.returncode in (2, 3) and str(run.name) in in_words(done.stderr), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["cut", "overwritten"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_never_ends_in_a_traceback(
    finished: Path, tmp_path: Path, name: str, kind: str, share: float
) -> None:
    if not list(finished.glob(name)):
        pytest.skip(f"this policy keeps no {name}")
    resumed_in_words(damaged(finished, tmp_path, name, f"{kind} {share}"))


@pytest.mark.slow
@pytest.mark.parametrize("tenths", range(2, 100, 7))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_any_second_of_a_run(tmp_path: Path, tenths: int, number: signal.Signals) -> None:
    process = start(*RUN, cwd=tmp_path)
    try:
        process.wait(tenths / 10)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    if process.returncode == -number:  # on a busy machine Python itself was not up yet
        assert "/node/" not in output and list(tmp_path.iterdir()) == []
        return
    assert "Traceback" not in output
    assert process.returncode in (0, 128 + number), output
    begun = (tmp_path / "run").exists()
    if begun:
        more = murmur("run", "--resume", "--run-dir", "run", "--rounds", "40", cwd=tmp_path)
        assert more.returncode == 0, more.stderr
