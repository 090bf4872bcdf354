"""A worker process: does one kind of work, question by question, each within its seconds. A script: `pool` starts it.

Its arguments are the file of the kind of work and what that takes. Such a file has MEMORY_BYTES of address space,
`greet(arguments)`, the first thing that is told, and `answer(question)`; it imports nothing of ours, nor does this.
Speaks JSON, a line a message. An answer is what `answer` gives, {"late": true} after `seconds` of computing, or
{"failed": why} where the work raised anything; each with the CPU seconds of the process and its own so far.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import resource
import signal
import sys
import time
from types import ModuleType
from typing import Any

LEAST_WAIT, TICK = 0.001, 0.01  # seconds between two looks
LONGEST = 400  # characters of what an error says


class Late(BaseException):
    """Ends work that computes for too long; not an Exception, so that nothing called here catches it as one."""


def main() -> None:
    owner = os.getpid()
    questions, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    # What the work, or a process that it starts, reads and prints must be neither a question nor an answer.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def tell(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    work = _loaded(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (work.MEMORY_BYTES, work.MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    allowance = _Allowance()
    greeting = work.greet(sys.argv[2:])
    tell(greeting)
    for line in questions:
        answer = _answered(work, json.loads(line), allowance)
        if os.getpid() != owner:
            os._exit(0)  # a fork that the work did not end: its parent answers
        tell({**answer, "cpu": _spent()})


class _Allowance:
    """Seconds of computing for one question: timers, and the system's limit, which kills what never returns to them.

    The system looks at its timers of computing at whole ticks, and lets a process have 60 ms for 20 on a busy machine.
    Nothing computes for longer than time goes by, so a timer of time is set, again and again for what is left. Own code
    may use that one for itself; then there is the other.
    """

    def __init__(self) -> None:
        self._until = math.inf  # of this process's computing

    def begin(self, seconds: float) -> None:
        self._until = time.process_time() + seconds
        for number in (signal.SIGALRM, signal.SIGPROF):
            signal.signal(number, self._look)
        signal.setitimer(signal.ITIMER_PROF, seconds, TICK)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = math.ceil(sum(os.times()[:2]) + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))

    def end(self) -> None:
        self._until = math.inf
        for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)

    def _look(self, number: int, _: object) -> None:
        """Ends the work, once, or waits for the rest of its seconds."""
        left = self._until - time.process_time()
        if left <= 0.0:
            self._until = math.inf
            raise Late
        if number == signal.SIGALRM and left < math.inf:
            signal.setitimer(signal.ITIMER_REAL, max(left, LEAST_WAIT))


def _answered(work: ModuleType, question: dict[str, Any], allowance: _Allowance) -> dict[str, Any]:
    try:
        allowance.begin(question["seconds"])
        try:
            answer: dict[str, Any] = work.answer(question)
            return answer
        finally:
            allowance.end()
    except Late:
        return {"late": True}
    except (MemoryError, RecursionError) as error:
        return {"failed": type(error).__name__}
    except BaseException as error:  # noqa: BLE001  own code raises SystemExit, KeyboardInterrupt and its own kinds
        return {"failed": _raised(error)}


def _raised(error: BaseException) -> str:
    try:
        said = f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001  an error's words are own code too
        said = type(error).__name__
    return f"it raised {said}"[:LONGEST].rstrip(": ")


def _spent() -> float:
    # os.times() counts in hundredths, which is more than a small question takes.
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _loaded(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("work", file)
    assert spec is not None and spec.loader is not None
    work = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(work)
    return work


if __name__ == "__main__":
    main()
