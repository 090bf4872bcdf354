"""The hostile process of `murmur bench attacks`: the attacker, held to a share of one core.

Attacker and victims share one machine here. What is measured is the protocol, so an attack must not win by taking the
cores that the honest nodes need; on the real internet it has machines of its own, and so have they.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from node.bench.attacks.plan import AttackPlan
from node.bench.attacks.swarm import Place
from node.bench.kit.child_process import start_child
from node.bench.kit.options import BenchError
from policies.plain_files import parse_json
from swarm.process import close_and_wait

CORES = 0.5  # processor seconds a second that the attacker's processes get, all together
_TICK, _BURST = 0.05, 0.1  # seconds between two looks at them; processor seconds after a pause
_LISTED = 2.0  # seconds that a list of the processes is used
_END_SECONDS = 20.0  # to stop its daemons


class HostileProcess:
    """The attacker, running inside the `with`; what it says it did is read as it comes."""

    def __init__(self, plan: AttackPlan, mallory: Place, log: Path) -> None:
        self._log = log
        with mallory.inside(), log.open("ab") as output:
            self._process = start_child("node.bench.attacks.hostile", plan.encode(), output)
        self._told: dict[str, int] = {}
        self._quota = CpuQuota(self._process.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> HostileProcess:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdout
        self._quota.lift()
        close_and_wait(self._process, _END_SECONDS)
        self._reader.join(_END_SECONDS)
        self._process.stdout.close()

    @property
    def begun(self) -> bool:
        """Whether it has done anything yet. Its quota holds from then on: what it imports is no attack."""
        if self.told():
            self._quota.hold()
        return bool(self._told)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the attack so far, its daemons' included."""
        return self._quota.used

    def told(self) -> dict[str, int]:
        """What it did so far, by kind. Raises BenchError when it has ended by itself."""
        if self._process.poll() is not None:
            raise BenchError(f"the hostile process ended by itself; see {self._log}")
        return self._told

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with suppress(ValueError):
                self._told = parse_json(line)


class CpuQuota:
    """Lets the processes of one group run for CORES of the time, by stopping and continuing all of them.

    Control groups would do it too, where this account may make some; signals work everywhere.
    """

    def __init__(self, group: int) -> None:
        self.used = 0.0  # processor seconds since `hold`
        self._group = group
        self._members: list[psutil.Process] = []
        self._listed = float("-inf")
        self._seen: dict[int, float] = {}  # processor seconds by PID
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self) -> None:
        """Begins. Idempotent."""
        if self._thread is None:
            self._spent()
            self._thread = threading.Thread(target=self._run, name="quota", daemon=True)
            self._thread.start()

    def lift(self) -> None:
        """Ends, with all of the group running. Idempotent."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._signal(signal.SIGCONT)

    def _run(self) -> None:
        level, looked, stopped = _BURST, time.monotonic(), False
        while not self._ended.wait(_TICK):
            now = time.monotonic()
            spent = self._spent()
            self.used += spent
            level, looked = min(_BURST, level + CORES * (now - looked)) - spent, now
            if (level < 0) is not stopped:
                stopped = level < 0
                self._signal(signal.SIGSTOP if stopped else signal.SIGCONT)

    def _spent(self) -> float:
        """Processor seconds since the last call."""
        if time.monotonic() - self._listed >= _LISTED:
            self._members, self._listed = list(_members(self._group)), time.monotonic()
        before, self._seen = self._seen, {}
        for process in self._members:
            with suppress(psutil.Error):
                times = process.cpu_times()
                self._seen[process.pid] = times.user + times.system
        return sum(max(0.0, seconds - before.get(pid, seconds)) for pid, seconds in self._seen.items())

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._group, number)


def _members(group: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == group:
                found.append(process)
    return found
