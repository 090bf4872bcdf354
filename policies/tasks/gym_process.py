"""The process in which reasoning-gym makes problems: one for this process, started when the first is asked for.

Parameters may come from an invite and seeds from a peer, and some datasets compute for hours on some of them. In a
process of its own each problem has a deadline that holds in every thread, and a bound on its memory.
"""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.line_process import LineProcess
from policies.tasks.task import Param, TaskError, TaskTimeoutError

CHILD = Path(__file__).with_name("gym_child.py")
CPU_SECONDS = 5.0  # of one problem; the slowest dataset takes 0.2 s by default
WALL_SECONDS = (
    30.0  # on a busy machine, or in code that the child's own timer cannot interrupt; then it is killed
)


@dataclass(slots=True)
class GymProcess:
    """The child and how long it may take. Thread-safe: one problem is made at a time."""

    cpu_limit: float = CPU_SECONDS
    wall_limit: float = WALL_SECONDS
    process: LineProcess = field(default_factory=lambda: LineProcess(CHILD, ("problems",)))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def parameters(self) -> Mapping[str, Sequence[str]]:
        """The library's datasets and the names of their parameters. Raises TaskError when it does not start."""
        with self._lock:
            self._start()
            parameters: dict[str, list[str]] = self.process.greeting
            return parameters

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
        return self.process.cpu_seconds()

    def close(self) -> None:
        """Ends the child, if there is one of this process; the next problem starts another."""
        self.process.close()

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        self._start()
        try:
            return self.process.ask(request, self.wall_limit)
        except TimeoutError:
            return {"late": self.wall_limit}
        except (OSError, EOFError):  # killed by the system for its memory, or by its user
            return {"refused": "its process ended before it answered; was there enough memory?"}

    def _start(self) -> None:
        try:
            self.process.start()
        except (OSError, EOFError, TimeoutError) as error:
            raise TaskError(
                f"reasoning-gym does not start ({type(error).__name__}); see what {sys.executable} -c "
                "'import reasoning_gym' says"
            ) from error


def _with(params: Mapping[str, Param]) -> str:
    return f" with {', '.join(f'{key} = {value}' for key, value in params.items())}" if params else ""


PROCESS = GymProcess()
atexit.register(PROCESS.close)
