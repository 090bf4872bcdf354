"""A clock that is set while its node runs: the node says so, its peer does, and both go on once it is right."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from murmur_command import ROOT, start

from node.storage.events import History

pytestmark = [pytest.mark.e2e, pytest.mark.swarm, pytest.mark.slow]

LOCAL = ("--set", 'swarm.listen=["/ip4/127.0.0.1/tcp/0"]')
NODE = (*LOCAL, "--set", "evaluation.problems=1")
PATIENCE = 240.0  # seconds, on a machine with other things to do
# Every Python process whose path leads here has a clock that is as far off as the file says.
CLOCK = """
import pathlib, time
true, file = time.time, pathlib.Path(__file__).with_name("seconds")
time.time = lambda: true() + float(file.read_text() or 0)
"""


def wait_for(what: Callable[[], bool], *alive: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline and all(process.poll() is None for process in alive)
        time.sleep(0.5)


def history(folder: Path) -> History:
    return History(folder / "runs" / "join-1" / "events.sqlite")


def told(folder: Path, what: str) -> list[str]:
    return [event.note for event in history(folder).life() if event.what == what]


def trains_on_peers(folder: Path) -> bool:
    return any(event.trained_external for event in history(folder).rounds()[-5:])


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("seconds", "words", "of_peer"),
    [
        (3600, "set forward by 3600 s", "behind that of peer"),
        (-3600, "set back by 3600 s", "ahead of that of peer"),
    ],
    ids=["forward", "back"],
)
def test_a_clock_that_is_set_is_told_on_both_sides_until_it_is_right(
    tmp_path: Path, seconds: int, words: str, of_peer: str
) -> None:
    clock, ann, ben = (tmp_path / name for name in ("clock", "ann", "ben"))
    for folder in (clock, ann, ben):
        folder.mkdir()
    (clock / "sitecustomize.py").write_text(CLOCK)
    (clock / "seconds").write_text("0")
    running = [start("bootstrap", "--config", "tiny", *LOCAL, cwd=tmp_path)]
    invite = tmp_path / "runs" / "bootstrap" / "invite.txt"
    try:
        wait_for(invite.exists, *running)
        join = ("join", invite.read_text().strip(), "--config", "tiny", "--rounds", "100000", *NODE)
        running.append(start(*join, cwd=ann))
        running.append(start(*join, cwd=ben, environment={"PYTHONPATH": f"{clock}:{ROOT}"}))
        wait_for(lambda: trains_on_peers(ann) and trains_on_peers(ben), *running)
        set_clock(clock, seconds)
        wait_for(lambda: bool(told(ann, "clock") and told(ben, "clock")), *running)
        [said] = told(ben, "clock")
        assert words in said and "timedatectl" in said
        wait_for(lambda: of_peer in "".join(told(ann, "clock")), *running)
        wait_for(lambda: not (trains_on_peers(ann) or trains_on_peers(ben)), *running)
        set_clock(clock, 0)
        wait_for(lambda: bool(told(ann, "clock right") and told(ben, "clock right")), *running)
        wait_for(lambda: trains_on_peers(ann) and trains_on_peers(ben), *running)
    finally:
        for process in reversed(running):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def set_clock(clock: Path, seconds: int) -> None:
    (clock / "new").write_text(str(seconds))
    (clock / "new").replace(clock / "seconds")
