"""Ctrl-C, once and twice, and SIGTERM at exact moments of a run: one line, no traceback, and what was saved goes on."""

from __future__ import annotations

import fcntl
import functools
import importlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from click.testing import Result
from murmur_command import ENVIRONMENT, MURMUR, QUICK
from typer.testing import CliRunner

from node.cli import app
from node.storage.events import History
from node.storage.run_folder import RunFolder
from node.ui.interrupts import NUMBERS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1300)]

PATIENCE = 400.0  # seconds that a loaded machine may take from a start to an end
AT_MOMENT = Path(__file__).parent / "at_moment.py"
ROUNDS = 3
OPTIONS = ("tiny", *QUICK, "--set", "checkpoint.every=1", "--rounds", str(ROUNDS), "--run-dir", "run")
COME = "the moment has come"

# Of each moment: what is called, or imported, and which call of it.
START = [
    ("typer:", 1),
    ("node.cli:", 1),
    ("node.config.reading:load_config", 1),
    ("node.storage.claim:claimed_new", 1),
    ("node.storage.run_folder:RunFolder.lock", 1),
    ("node.storage.run_folder:RunFolder.create", 1),
    ("node.storage.run_folder:write_atomic", 1),
    ("torch:", 1),
    ("transformers:", 1),
    ("node.runtime.build:build_node", 1),
    ("policies.text.policy:TextPolicy", 1),
    ("node.storage.events:Store.append", 1),
    ("node.runtime.loop:evaluate", 1),
]
ROUND = [
    ("policies.strategies.rollout_phase:rollout_phase", 1),
    ("policies.strategies.rollout_phase:rollout_phase", 2),
    ("policies.text.policy:TextPolicy.update", 1),
    ("policies.text.policy:TextPolicy.update", 2),
    ("node.runtime.loop:keep", 1),
    ("node.storage.events:Store.append", 3),
    ("node.ui.run_view:RunView.on_round", 1),
]
SAVE = [
    ("node.storage.checkpoint:Checkpoints.save", 1),
    ("policies.text.policy:TextPolicy.save", 1),
    ("node.storage.checkpoint:sync_tree", 2),
    ("node.storage.checkpoint:sync_folder", 1),
    ("node.storage.checkpoint:sync_folder", 2),
]
END = [
    ("node.runtime.loop:save", ROUNDS + 1),
    ("node.runtime.session:_report_end", 1),
    ("node.report.reports:Reports.close", 1),
    ("swarm.gossip.service:Gossip.close", 1),
    ("node.storage.events:Store.close", 1),
    ("threading:_shutdown", 1),
]
SWARM = [
    ("swarm.transport.ipc_client:_spawn", 1),
    ("node.runtime.session:_join", 1),
    ("swarm.transport.dht:DhtTransport.close", 1),
]
SIGNALS = ("INT", "INT,INT", "TERM")


@pytest.mark.parametrize("moment", [*START, *ROUND, *SAVE, *END, *SWARM], ids=lambda moment: moment[0])
def test_what_a_moment_waits_for_is_there(moment: tuple[str, int]) -> None:
    """Else a slow test would wait for a name of before."""
    module, _, name = moment[0].partition(":")
    assert functools.reduce(getattr, name.split(".") if name else (), importlib.import_module(module))


def interrupted(folder: Path, verb: str, moment: tuple[str, int], signals: str) -> tuple[int, str]:
    """Exit code and output of a run that met the signals; none of its processes is left."""
    place, call = moment
    command = [sys.executable, AT_MOMENT, place, str(call), signals, verb, *OPTIONS]
    process = started(command, folder)
    output = ended(process)
    assert COME in output, output
    left = [other for other in psutil.process_iter() if in_group(other, process.pid)]
    _, left = psutil.wait_procs(left, PATIENCE)
    assert not left
    return process.returncode, output


def started(command: Sequence[str | Path], folder: Path) -> subprocess.Popen[str]:
    """In a group of its own, as a terminal's command is."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What it printed up to its end; it is killed where it does not come to one."""
    try:
        return process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def in_group(process: psutil.Process, leader: int) -> bool:
    try:
        return any(str(AT_MOMENT) in word for word in process.cmdline()) and process.ppid() == leader
    except psutil.Error:
        return False


def ended_in_words(code: int, output: str) -> None:
    """Either the run ended as it should, saved, or one line says which signal ended it."""
    assert "Traceback" not in output and "fault of murmur" not in output and "Error" not in output, output
    told = [line for line in output.splitlines() if line.startswith("murmur: ")]
    if code == 0:
        assert not told and ("stopped and saved" in output or f"finished {ROUNDS} rounds" in output), output
    else:
        assert code in (128 + signal.SIGINT, 128 + signal.SIGTERM), output
        [line] = told
        assert line.startswith("murmur: stopped by "), line


def said_saved(output: str) -> int:
    """The newest round that the run's last words call saved."""
    told = re.findall(r"(?:saved is|saved after) round (\d+)|finished (\d+) rounds", output)
    return max((int(number) for pair in told for number in pair if number), default=0)


def resumed(run: Path) -> Result:
    """What the command comes to in this process, which has imported torch already and keeps its signals."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    rounds = str(ROUNDS + 1)
    try:
        return CliRunner().invoke(app, ["run", "--resume", "--run-dir", str(run), "--rounds", rounds])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def goes_on(folder: Path, output: str) -> None:
    """The run folder is not there, or the run goes on in it from what was said to be saved, or later."""
    if not (folder / "run").exists():
        assert said_saved(output) == 0, output
        return
    more = resumed(folder / "run")
    assert more.exit_code == 0 and not more.stderr, more.stderr
    assert not RunFolder(folder / "run").read_cause()
    [after] = re.findall(r"resumed after round (\d+)", more.stdout)
    assert int(after) >= said_saved(output), (output, more.stdout)
    assert [event.round for event in History(folder / "run" / "events.sqlite").rounds()] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("moment", "signals"),
    [(START[7], "INT"), (ROUND[0], "INT,INT"), (ROUND[2], "INT"), (SAVE[2], "TERM,INT"), (END[3], "INT")],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_signal_at_this_moment_loses_nothing(tmp_path: Path, moment: tuple[str, int], signals: str) -> None:
    code, output = interrupted(tmp_path, "silo", moment, signals)
    ended_in_words(code, output)
    goes_on(tmp_path, output)


@pytest.mark.slow
@pytest.mark.parametrize("signals", SIGNALS)
@pytest.mark.parametrize(
    "moment", [*START, *ROUND, *SAVE, *END], ids=lambda moment: f"{moment[0]}-{moment[1]}"
)
def test_a_signal_at_any_moment_loses_nothing(tmp_path: Path, moment: tuple[str, int], signals: str) -> None:
    code, output = interrupted(tmp_path, "silo", moment, signals)
    ended_in_words(code, output)
    goes_on(tmp_path, output)


@pytest.mark.slow
@pytest.mark.parametrize("signals", ["INT", "TERM,INT"])
@pytest.mark.parametrize("moment", [*SWARM, *ROUND[:3], SAVE[2]], ids=lambda moment: moment[0])
def test_a_node_of_a_swarm_ends_with_its_daemon(
    tmp_path: Path, moment: tuple[str, int], signals: str
) -> None:
    code, output = interrupted(tmp_path, "run", moment, signals)
    ended_in_words(code, output)
    goes_on(tmp_path, output)


def catches_signals(pid: int) -> bool:
    """Whether the process has its own ways with SIGTERM, as Linux tells it."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigCgt" in line)
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
@pytest.mark.parametrize("tenths", [0, 1, 3, 8, 20, 50, 120, 250])
def test_a_signal_so_long_after_the_start_loses_nothing(tmp_path: Path, tenths: int) -> None:
    process = started([*MURMUR, "silo", *OPTIONS], tmp_path)
    deadline = time.monotonic() + PATIENCE
    while not catches_signals(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(tenths / 10)
    process.send_signal(signal.SIGINT)
    output = ended(process)
    ended_in_words(process.returncode, output)
    goes_on(tmp_path, output)


def stands_in_a_write(pid: int) -> bool:
    """Whether the main thread waits for a pipe's reader, as Linux tells it."""
    return "pipe_write" in Path(f"/proc/{pid}/wchan").read_text()


@pytest.mark.skipif(
    not Path("/proc/self/wchan").exists(), reason="no kernel that says what a thread waits for"
)
@pytest.mark.parametrize("style", [(), ("--json",)], ids=["plain", "json"])
def test_ctrl_c_while_nobody_reads_the_output(tmp_path: Path, style: tuple[str, ...]) -> None:
    """As in `murmur silo | less`: the run stands in the middle of a write when the signals come."""
    command = [*MURMUR, "silo", *OPTIONS, *style, "--rounds", "10000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, text=True, **pipes) as process:
        assert process.stdout and process.stderr
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        deadline = time.monotonic() + PATIENCE
        while not stands_in_a_write(process.pid):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)  # seconds between two presses of a person
        code, said = process.wait(PATIENCE), process.stderr.read()
    assert code == 128 + signal.SIGINT, said
    assert "Traceback" not in said and said.count("murmur: stopped by Ctrl-C; ") == 1
    assert RunFolder(tmp_path / "run").read_cause() == "stopped by Ctrl-C"
