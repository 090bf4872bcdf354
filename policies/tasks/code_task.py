"""Code tasks: a class of the owner's own, `problem(seed)` and `score(problem, completion)`, in a process of its own.

Which class it is stands in the owner's config alone: an invite names the task and the digest of its source, never code.
"""

from __future__ import annotations

import atexit
import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.line_process import LineProcess
from policies.rollout import Problem
from policies.tasks.held_out import seed_on_its_side
from policies.tasks.task import Param, TaskError, TaskSpec, TaskTimeoutError

logger = logging.getLogger(__name__)

NAME = "code"
CODE_SOURCE = "source"  # the parameter that travels
CODE = "code"  # the one that never does
CHILD = Path(__file__).with_name("code_child.py")
CPU_SECONDS = 5.0  # of one problem or one score
WALL_SECONDS = 60.0  # on a busy machine, or in code that no timer interrupts; then the process is killed
_NAME = re.compile(r"code:[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


@dataclass(slots=True)
class CodeProcess:
    """The child that runs one class. Thread-safe: one question at a time."""

    where: str
    process: LineProcess
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def source(self) -> str:
        """The digest of the class's source. Raises TaskError with what its module said while it was loaded."""
        with self._lock:
            try:
                self.process.start()
            except (OSError, EOFError, TimeoutError) as error:
                raise TaskError(
                    f"{self.where} does not load: its process ended ({type(error).__name__})"
                ) from error
            if "failed" in self.process.greeting:
                raise TaskError(f"{self.where} does not load: {self.process.greeting['failed']}")
            return str(self.process.greeting["source"])

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """`late` where it took too long, `failed` where its code raised or its process ended."""
        with self._lock:
            try:
                return self.process.ask({**question, "seconds": CPU_SECONDS}, WALL_SECONDS)
            except TimeoutError:
                return {"late": True}
            except (OSError, EOFError) as error:
                return {"failed": f"its process ended ({type(error).__name__})"}


@dataclass(frozen=True, slots=True)
class CodeTask:
    """A task of own code; its name carries the digest of its source."""

    name: str
    digests: Mapping[str, Param]
    process: CodeProcess

    def problem(self, seed: int) -> Problem:
        drawn = seed_on_its_side(self.name, seed, lambda drawn: self._made(drawn)[0])
        return Problem(self.name, seed, *self._made(drawn))

    def _made(self, seed: int) -> tuple[str, str]:
        """Prompt and answer that the class gives for a seed."""
        answer = self.process.ask({"seed": seed})
        if "problem" in answer:
            prompt, right = answer["problem"]
            return prompt, right
        if "late" in answer:
            raise TaskTimeoutError(f"{self.name}: problem({seed}) takes over {CPU_SECONDS:g} s of computing")
        raise TaskError(f"{self.name}: problem({seed}) failed: {answer['failed']}")

    def score(self, problem: Problem, completion: str) -> float | None:
        """What the class gives; None, no verdict, where it took too long, raised, or gave no number from 0 to 1."""
        answer = self.process.ask(
            {"seed": problem.seed, "problem": [problem.prompt, problem.answer], "completion": completion}
        )
        if "score" in answer:
            return float(answer["score"])
        logger.warning("%s has no verdict on a text: %s", self.name, answer.get("failed", "it took too long"))
        return None


def is_code(name: str) -> bool:
    """Whether a task's name is that of a code task."""
    return name == NAME or name.startswith(f"{NAME}:")


def build_code_task(spec: TaskSpec, hash_seed: str | None = None) -> CodeTask:
    """The task of the class that the owner's config names. Raises TaskError with what to change."""
    where, wanted = spec.params.get(CODE, ""), spec.params.get(CODE_SOURCE, "")
    if not _NAME.fullmatch(spec.name):
        raise TaskError(
            f"{spec.name!r} is no name of a code task: write code:NAME, with its class in the key code"
        )
    if unknown := sorted(set(spec.params) - {CODE, CODE_SOURCE}):
        raise TaskError(f"{spec.name} takes no parameters, and is given {', '.join(unknown)}")
    if not where or not isinstance(where, str):
        raise TaskError(
            f"{spec.name} is code, and a node runs only what its own config names. "
            + (f"The swarm's has the source {wanted}: ask for its file, " if wanted else "Write it, ")
            + f"and use a config in which [[tasks]] has name = {spec.name!r} and code = 'FILE.py:Class'"
        )
    process = CodeProcess(where, LineProcess(CHILD, (where,), hash_seed=hash_seed))
    atexit.register(process.process.close)
    source = process.source()
    if wanted and wanted != source:
        raise TaskError(
            f"{spec.name}: the source of {where} is not that of this run or swarm (digest here {source}, there "
            f"{wanted}): take the same file, or begin a new run"
        )
    return CodeTask(f"{spec.name}@{source}", {CODE_SOURCE: source}, process)
