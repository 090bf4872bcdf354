"""The pool of worker processes: one for each kind of work that may hang, started when first asked.

Patterns, mathematics, reasoning-gym's problems and scorers, own verifiers and own tasks are such kinds. All have the
same bounds: memory, seconds of computing for each question, whatever runs in it, and of wall time, after which the
process is killed. Its owner's own work goes before work for peers. After many questions a process is replaced, so that
no library's leak grows for ever.
"""

from __future__ import annotations

import signal
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.workers.line_process import LineProcess
from policies.workers.turns import Turns

CHILD = Path(__file__).with_name("child.py")
CPU_SECONDS = 5.0  # of one question
WALL_SECONDS = 60.0  # a busy machine gives it a tenth of a core; beyond that the process is killed
QUESTIONS = 20_000  # of one process

_POOL: weakref.WeakSet[Worker] = weakref.WeakSet()


class WorkerError(RuntimeError):
    """A worker that does not start; the message says how it ended."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class Worker:
    """A process for one kind of work. Thread-safe: one question at a time."""

    work: Path  # the file that does it: see `child`
    arguments: Sequence[str] = ()
    flags: Sequence[str] = ("-P",)  # of Python
    cpu_seconds: float = CPU_SECONDS
    wall_seconds: float = WALL_SECONDS
    hash_seed: str | None = None
    bare: bool = False  # without this process's environment, in the root folder
    process: LineProcess = field(init=False)
    turns: Turns = field(default_factory=Turns)
    _asked: int = 0  # of the process that runs

    def __post_init__(self) -> None:
        arguments = (str(self.work), *self.arguments)
        self.process = LineProcess(CHILD, arguments, self.flags, hash_seed=self.hash_seed, bare=self.bare)
        _POOL.add(self)
        weakref.finalize(self, self.process.close)  # with this object, or with this process

    def greeting(self) -> dict[str, Any]:
        """What the work tells of itself as it starts. Raises WorkerError."""
        with self.turns.turn():
            self._start()
            told: dict[str, Any] = self.process.greeting
            return told

    def ask(self, within: float | None = None, **question: Any) -> dict[str, Any]:
        """The work's answer; {"late": true} where it took too long, {"failed": why} where it was not to be had.

        Neither says anything of what was asked about: what is scored so has no verdict. `within`: CPU seconds, where
        this worker's own are more.
        """
        seconds = min(self.cpu_seconds, within or self.cpu_seconds)
        with self.turns.turn():
            try:
                self._start()
                return self.process.ask({**question, "seconds": seconds}, self.wall_seconds)
            except TimeoutError:
                return {"late": True}
            except (WorkerError, OSError, EOFError) as error:
                late = self.process.ending == -signal.SIGXCPU
                return {"late": True} if late else {"failed": self._ended(error)}

    def why(self, answer: Mapping[str, Any]) -> str:
        """In words, why an answer is none."""
        bounds = f"{self.cpu_seconds:g} s of computing, or {self.wall_seconds:g} s in all"
        return str(answer.get("failed", f"it took over {bounds}"))

    def spent(self) -> float:
        """CPU seconds of the process that runs now, as of its last answer. An ended one's are our ended children's."""
        return self.process.cpu_seconds()

    def close(self) -> None:
        """Ends the process, if there is one of this process; the next question starts another."""
        self.process.close()

    def _ended(self, error: Exception) -> str:
        ending = self.process.ending
        if isinstance(error, WorkerError):
            return str(error)
        if ending is None:
            return f"its process ended ({type(error).__name__})"
        if ending < 0:
            return f"its process was ended by signal {-ending} ({signal.strsignal(-ending)})"
        return f"it ended its own process, with exit code {ending}"

    def _start(self) -> None:
        if self._asked >= QUESTIONS:
            self.process.close()
        if not self.process.running:
            self._asked = 0
        self._asked += 1
        try:
            self.process.start()
        except TimeoutError as error:
            raise WorkerError(f"it did not start within {self.process.start_seconds:g} s") from error
        except (OSError, EOFError) as error:
            raise WorkerError(f"as it started, {self._ended(error)}") from error


def pool_cpu_seconds() -> float:
    """CPU seconds of all workers that run now, as of their last answers."""
    return sum(worker.spent() for worker in list(_POOL))
