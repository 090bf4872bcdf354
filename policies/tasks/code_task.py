"""Code tasks: a class of the owner's own, `problem(seed)` and `score(problem, completion)`, in a process of its own.

Which class it is stands in the owner's config alone: an invite names the task and the digest of its source, never code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from policies.rollout import Problem
from policies.tasks.held_out import DrawnProblems
from policies.tasks.task import Param, TaskError, TaskSourceMissing, TaskSpec, TaskTimeoutError
from policies.unjudged import WANTED, tell_unjudged
from policies.workers.pool import Worker, WorkerError

NAME = "code"
CODE_SOURCE = "source"  # the parameter that travels
CODE = "code"  # the one that never does
WORK = Path(__file__).with_name("code_work.py")
_NAME = re.compile(r"code:[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


@dataclass(frozen=True, slots=True)
class CodeTask:
    """A task of own code; its name carries the digest of its source."""

    name: str
    digests: Mapping[str, Param]
    worker: Worker
    drawn: DrawnProblems = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "drawn", DrawnProblems(self.name, self._made))

    def problem(self, seed: int) -> Problem:
        return self.drawn.problem(seed)

    def canonical_seed(self, seed: int) -> int:
        return self.drawn.canonical_seed(seed)

    def first_draw(self, seed: int, within: float | None = None) -> Problem:
        return self.drawn.first_draw(seed, within)

    def _made(self, seed: int, within: float | None = None) -> tuple[str, str]:
        """Prompt and answer that the class gives for a seed."""
        answer = self.worker.ask(within, seed=seed)
        if "problem" in answer:
            prompt, right = answer["problem"]
            return prompt, right
        if "late" in answer:
            raise TaskTimeoutError(
                f"{self.name}: problem({seed}) takes over {within or self.worker.cpu_seconds:g} s of computing"
            )
        raise TaskError(f"{self.name}: problem({seed}) failed: {answer['failed']}")

    def score(self, problem: Problem, completion: str) -> float | None:
        """What the class gives; None, no verdict, where it took too long, raised, or gave no number from 0 to 1."""
        answer = self.worker.ask(problem=[problem.prompt, problem.answer], completion=completion)
        if "score" in answer:
            return float(answer["score"])
        tell_unjudged(self.name, completion, f"{self.worker.why(answer)}; {WANTED}", problem.answer)
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
    file = where.rpartition(":")[0]
    if file.endswith(".py") and not Path(file).exists():
        raise TaskSourceMissing(
            f"{spec.name}: no such file: {file}: put it back, or name another in the key code"
        )
    worker = Worker(WORK, (where,), hash_seed=hash_seed)
    source = source_of(worker, where)
    if wanted and wanted != source:
        raise TaskError(
            f"{spec.name}: the source of {where} is not that of this run or swarm (digest here {source}, there "
            f"{wanted}): take the same file, or begin a new run"
        )
    return CodeTask(f"{spec.name}@{source}", {CODE_SOURCE: source}, worker)


def source_of(worker: Worker, where: str) -> str:
    """The digest of the own code's source. Raises TaskError with what its module said while it was loaded."""
    try:
        greeting = worker.greeting()
    except WorkerError as error:
        raise TaskError(f"{where} does not load: {error}") from error
    if "failed" in greeting:
        raise TaskError(f"{where} does not load: {greeting['failed']}")
    return str(greeting["source"])
