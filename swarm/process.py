"""Processes: one that must not outlive its parent, the pause before one is started again, CPU time with that of
children, and files for one account alone.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import gc
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

_PR_SET_PDEATHSIG = 1
# Seconds that a list of children is used: it is made from all processes of the machine.
_CHILDREN_KNOWN = 10.0
_STEADY = 60.0  # seconds up after which a failure counts as the first again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0  # seconds; each is twice the one before
_DOUBLINGS = 16  # beyond the longest pause; a power of two with a day's failures is more than a float holds


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent is gone. Linux only; elsewhere nothing happens.

    The signal comes when the *thread* that started this process ends, so that thread has to stay.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_quickly() -> None:
    """At its end the interpreter looks through all objects for cycles once more: with torch, for up to nine seconds.

    From where this process ends, it finds none to look at. What was registered with atexit runs as ever.
    """
    atexit.register(gc.freeze)


def close_and_wait(process: subprocess.Popen[Any], timeout: float) -> None:
    """Closes the standard input of a process, by which it ends; after `timeout` seconds it is killed."""
    assert process.stdin
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class BackOff:
    """Of one process that is kept running. Pauses are drawn: peers of one outage shall not all come back at once."""

    def __init__(self) -> None:
        self.failures = 0  # in a row

    def after(self, lived: float) -> float:
        """Seconds to wait after a failure that came `lived` seconds after the start."""
        self.failures = 0 if lived > _STEADY else self.failures + 1
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.failures, _DOUBLINGS))
        return pause * random.uniform(0.5, 1.0)


def ended_children_cpu_seconds() -> float:
    """CPU seconds of this process's children that have ended and were waited for, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class LastWords:
    """The last line that a process of ours wrote to its standard error: one that dies says there why.

    Reads to the end, on a thread, so that the pipe is never full.
    """

    def __init__(self, errors: IO[bytes], name: str, longest: int) -> None:
        """`longest` in bytes: a longer line counts as several."""
        self._line = "no reason given"
        self._reader = threading.Thread(target=self._read, args=(errors, longest), name=name, daemon=True)
        self._reader.start()

    def awaited(self, timeout: float) -> str:
        """As it was written, once the process has closed its standard error or `timeout` seconds have gone by."""
        self._reader.join(timeout)
        return self._line

    def _read(self, errors: IO[bytes], longest: int) -> None:
        with errors:
            while line := errors.readline(longest):
                self._line = line.decode(errors="replace").strip() or self._line


class FamilyClock:
    """CPU seconds of this process and of all that it started, running or ended; never falls."""

    def __init__(self) -> None:
        self._children: list[psutil.Process] = []
        self._listed = float("-inf")  # monotonic seconds
        self._most = 0.0

    def seconds(self) -> float:
        """A child that was just started is missing for some seconds, and then counts from its start."""
        # The ended ones first: a child that ends meanwhile is missing this once, and never counts twice.
        total = time.process_time() + ended_children_cpu_seconds()
        total += sum(map(_cpu_seconds, self._living()))
        self._most = max(self._most, total)
        return self._most

    def _living(self) -> list[psutil.Process]:
        if time.monotonic() - self._listed >= _CHILDREN_KNOWN:
            self._children = psutil.Process().children(recursive=True)
            self._listed = time.monotonic()
        return self._children


def _cpu_seconds(process: psutil.Process) -> float:
    """0 for a process that was waited for: its parent has counted it by now."""
    with suppress(psutil.Error):
        if process.is_running():
            used = process.cpu_times()
            return float(used.user + used.system + used.children_user + used.children_system)
    return 0.0


def keep_private(path: Path) -> None:
    """Makes the file where there is none, and in any case one that no other account can read or write.

    Stores and logs tell what peers wrote and where they are. SQLite gives its side files the mode of the store.
    Raises OSError.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600))
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(f"{path} is a pipe that nobody reads, or a socket: move it away") from None
        raise
    mode = path.stat().st_mode
    # A log may be a link to a device, which is everybody's.
    if stat.S_ISREG(mode) and stat.S_IMODE(mode) & 0o077:
        path.chmod(0o600)
