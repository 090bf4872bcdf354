"""The worker in which reasoning-gym makes problems: one for this process, started when the first is asked for.

Parameters may come from an invite and seeds from a peer, and some datasets compute for hours on some of them. In a
process of its own each problem has a deadline that holds in every thread, and a bound on its memory.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.tasks.task import Param, TaskError, TaskTimeoutError
from policies.workers.pool import Worker, WorkerError

WORK = Path(__file__).with_name("gym_work.py")
CPU_SECONDS = 5.0  # of one problem; the slowest dataset takes 0.2 s by default


@dataclass(frozen=True, slots=True)
class GymProcess:
    """The worker that makes problems."""

    worker: Worker = field(default_factory=lambda: Worker(WORK, cpu_seconds=CPU_SECONDS))

    def parameters(self) -> Mapping[str, Sequence[str]]:
        """The library's datasets and the names of their parameters. Raises TaskError when it does not start."""
        try:
            return self.worker.greeting()
        except WorkerError as error:
            raise TaskError(
                f"reasoning-gym does not start ({error}); see what {sys.executable} -c 'import reasoning_gym' says"
            ) from error

    def problem(
        self, dataset: str, seed: int, params: Mapping[str, Param], within: float | None = None
    ) -> tuple[str, str]:
        """Question and answer. Raises TaskTimeoutError beyond the deadline, TaskError with the library's complaint."""
        answer = self.worker.ask(within, dataset=dataset, drawn=seed, params=dict(params))
        if "problem" in answer:
            question, right = answer["problem"]
            return question, right
        if "late" in answer:
            raise TaskTimeoutError(
                f"rg:{dataset} takes over {within or self.worker.cpu_seconds:g} s of computing for problem {seed}"
                f"{_with(params)}: choose smaller parameters"
            )
        raise TaskError(f"rg:{dataset} refuses its parameters: {answer.get('refused') or _ended(answer)}")


def _ended(answer: Mapping[str, Any]) -> str:
    return f"{answer['failed']}; was there enough memory?"


def _with(params: Mapping[str, Param]) -> str:
    return f" with {', '.join(f'{key} = {value}' for key, value in params.items())}" if params else ""


PROCESS = GymProcess()
