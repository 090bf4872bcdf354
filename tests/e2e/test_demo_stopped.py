"""Ctrl-C in a demo, once and twice, typed at a terminal: what was saved, the table so far and the next commands."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from murmur_command import ENVIRONMENT, MURMUR, murmur

from node.storage.checkpoint import Checkpoints

pytestmark = [pytest.mark.e2e, pytest.mark.swarm, pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE = 300.0  # seconds, on a machine with other things to do
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
SHOW, HIDE = "\x1b[?25h", "\x1b[?25l"


class Terminal:
    """A command at a terminal of its own, on which keys can be typed."""

    def __init__(self, *command: str, cwd: Path) -> None:
        self._keys, screen = os.openpty()
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
        self._shown: list[bytes] = []
        self.process = subprocess.Popen(
            [*MURMUR, *command],
            cwd=cwd,
            env={**ENVIRONMENT, "TERM": "xterm"},
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(screen)
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        with suppress(OSError):  # the terminal's other side is closed
            while read := os.read(self._keys, 65536):
                self._shown.append(read)

    def type(self, key: str) -> None:
        os.write(self._keys, key.encode())

    @property
    def shown(self) -> str:
        return b"".join(self._shown).decode(errors="replace")

    def ended(self) -> str:
        """All that was shown up to the end of the command; it is killed where it does not come to one."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(self.shown) from error
        finally:
            self.process.kill()
            self.process.wait()
            self._reading.join(PATIENCE)
            os.close(self._keys)
        return self.shown


def until(true: Callable[[], object], terminal: Terminal) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline and terminal.process.poll() is None, terminal.shown
        time.sleep(0.1)


def saved(demo: Path) -> int:
    return Checkpoints(demo / "swarm-1" / "checkpoints", 1).newest() or 0


def none_is_left(demo: Path) -> bool:
    named = (str(demo), f"{demo.name}/")
    return not any(any(name in word for name in named for word in words) for words in _commands())


def _commands() -> list[list[str]]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found.append(process.cmdline())
    return found


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_at_a_terminal_shows_the_table_so_far_and_what_is_next(tmp_path: Path, presses: int) -> None:
    demo = tmp_path / f"stopped-{presses}"
    terminal = Terminal("demo", "--nodes", "2", "--rounds", "1000", "--run-dir", demo.name, cwd=tmp_path)
    until(lambda: saved(demo), terminal)
    terminal.type("\x03")
    if presses == 2:
        # The second press ends it at once, with the table as it was drawn last.
        until(lambda: "Ctrl-C again" in terminal.shown and "(unfinished)" in terminal.shown, terminal)
        terminal.type("\x03")
    shown = terminal.ended()
    words = " ".join(CONTROL.sub(" ", shown).split())
    assert terminal.process.returncode == 128 + signal.SIGINT and "Traceback" not in words
    assert f"{demo.name} (unfinished)" in words and "held-out" in words.partition("(unfinished)")[2]
    last = words.rpartition("murmur: stopped by Ctrl-C; ")[2]
    assert re.match(r"\d of 2 nodes saved, at rounds? \d+", last), last
    next_one = re.search(r"run --resume --run-dir (\S+?/swarm-\d);? look at it: \S*murmur dashboard \1", last)
    assert next_one, last
    assert shown.rfind(SHOW) > shown.rfind(HIDE)
    deadline = time.monotonic() + PATIENCE
    while not none_is_left(demo):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done = Checkpoints(tmp_path / next_one[1] / "checkpoints", 1).newest() or 0
    more = murmur("run", "--resume", "--run-dir", next_one[1], "--rounds", str(done + 1), cwd=tmp_path)
    assert more.returncode == 0 and f"resumed after round {done}" in more.stdout, more.stdout + more.stderr


def test_ctrl_c_before_a_round_was_saved_says_so(tmp_path: Path) -> None:
    terminal = Terminal(
        "demo", "--nodes", "2", "--rounds", "1000", "--run-dir", "stopped-early", cwd=tmp_path
    )
    until(lambda: (tmp_path / "stopped-early" / "bootstrap").exists(), terminal)
    terminal.type("\x03")
    words = " ".join(CONTROL.sub(" ", terminal.ended()).split())
    assert terminal.process.returncode == 128 + signal.SIGINT and "Traceback" not in words
    assert "murmur: stopped by Ctrl-C; no node saved a round; begin again with: " in words
