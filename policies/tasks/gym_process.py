"""The process in which reasoning-gym makes problems: one for this process, started when the first is asked for.

Parameters may come from an invite and seeds from a peer, and some datasets compute for hours on some of them. In a
process of its own each problem has a deadline that holds in every thread, and a bound on its memory.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.tasks.task import Param, TaskError, TaskTimeoutError

CHILD = Path(__file__).with_name("gym_child.py")
CPU_SECONDS = 5.0  # of one problem; the slowest dataset takes 0.2 s by default
WALL_SECONDS = (
    30.0  # on a busy machine, or in code that the child's own timer cannot interrupt; then it is killed
)
START_SECONDS = 120.0  # the library is imported in 2 s, from a cold disk of a busy machine in a minute


@dataclass(slots=True)
class GymProcess:
    """The child and how long it may take. Thread-safe: one problem is made at a time."""

    cpu_limit: float = CPU_SECONDS
    wall_limit: float = WALL_SECONDS
    _child: subprocess.Popen[bytes] | None = None
    _owner: int = 0  # process that started the child: a fork shares its pipes, and must not use them
    _parameters: dict[str, list[str]] = field(default_factory=dict)
    _unread: bytes = b""
    _cpu: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def parameters(self) -> Mapping[str, Sequence[str]]:
        """The library's datasets and the names of their parameters. Raises TaskError when it does not start."""
        with self._lock:
            self._running()
            return self._parameters

    def problem(self, dataset: str, seed: int, params: Mapping[str, Param]) -> tuple[str, str]:
        """Question and answer. Raises TaskTimeoutError beyond the deadline, TaskError with the library's complaint."""
        request = {"dataset": dataset, "seed": seed, "params": dict(params), "seconds": self.cpu_limit}
        with self._lock:
            answer = self._asked(request)
        if "problem" in answer:
            question, right = answer["problem"]
            return question, right
        if "late" in answer:
            raise TaskTimeoutError(
                f"rg:{dataset} takes over {answer['late']:g} s of computing for problem {seed}{_with(params)}: choose "
                "smaller parameters"
            )
        raise TaskError(f"rg:{dataset} refuses its parameters: {answer['refused']}")

    def cpu_seconds(self) -> float:
        """CPU seconds of the child that runs now, as of its last answer; an ended one's are its parent's children's."""
        return self._cpu if self._child is not None and self._owner == os.getpid() else 0.0

    def close(self) -> None:
        """Ends the child, if there is one of this process; the next problem starts another."""
        child, self._child, self._unread, self._cpu = self._child, None, b"", 0.0
        if child is None or self._owner != os.getpid():
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        child = self._running()
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            answer: dict[str, Any] = self._line(child, self.wall_limit)
        except TimeoutError:
            self.close()
            return {"late": self.wall_limit}
        except (OSError, EOFError):  # killed by the system for its memory, or by its user
            self.close()
            return {"refused": "its process ended before it answered; was there enough memory?"}
        self._cpu = float(answer["cpu"])
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._owner == os.getpid() and self._child.poll() is None:
            return self._child
        self.close()
        # A session of its own: Ctrl-C is for the node, which still needs problems to finish its round.
        child = subprocess.Popen(
            [sys.executable, "-P", str(CHILD), "problems"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._child, self._owner = child, os.getpid()
        try:
            self._parameters = self._line(child, START_SECONDS)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            raise TaskError(
                f"reasoning-gym does not start ({type(error).__name__}); see what {sys.executable} -c "
                "'import reasoning_gym' says"
            ) from error
        return child

    def _line(self, child: subprocess.Popen[bytes], seconds: float) -> Any:
        """The next message of the child. Raises TimeoutError, and EOFError when it has ended."""
        assert child.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._unread:
            ready, _, _ = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            if not (received := os.read(child.stdout.fileno(), 65536)):
                raise EOFError
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)


def _with(params: Mapping[str, Param]) -> str:
    return f" with {', '.join(f'{key} = {value}' for key, value in params.items())}" if params else ""


PROCESS = GymProcess()
atexit.register(PROCESS.close)
