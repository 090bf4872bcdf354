"""reasoning-gym in a process of its own: makes problems, or scores one completion. A script: its parents start it.

Speaks JSON, a line a message. Imports nothing of ours: under `python -I` only installed packages are on the path.

`problems` (see `gym_process`): first a line with the parameters of every dataset; then for each request {dataset,
params, seed, seconds} one of {"problem": [question, answer]}, {"refused": why}, {"late": seconds}, with the CPU
seconds of the process so far. Ends with its standard input.
`score` (see `sandbox`): one request {dataset, params, seed, completion}, answered by the score alone.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from dataclasses import fields
from typing import Any, NoReturn

import reasoning_gym

SCORE_CPU_SECONDS = 20  # over the parent's deadline; ends a child whose parent died
MEMORY_BYTES = 2 * 2**30  # address space; torch is not loaded, sympy and the fonts take under 1 GiB
MAX_CHARACTERS = 200_000  # of question and answer
NOBODY = 65534
# What a hundred datasets raise on parameters that they cannot serve.
LIBRARY_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Late(BaseException):
    """Ends a dataset that computes for too long; not an Exception, so that no dataset catches it."""


def main() -> None:
    if sys.argv[1:] == ["score"]:
        score()
    else:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        signal.signal(signal.SIGPROF, _late)
        serve()


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a dataset prints must not stand among the answers

    def tell(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    tell({name: _parameters(config) for name, (_, config) in reasoning_gym.factory.DATASETS.items()})
    for line in sys.stdin:
        tell({**_answer(json.loads(line)), "cpu": time.process_time()})


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    signal.setitimer(signal.ITIMER_PROF, request["seconds"])
    try:
        entry = _dataset(request)[0]
        question, answer = entry["question"], str(entry["answer"])
        if (characters := len(question) + len(answer)) > MAX_CHARACTERS:
            return {
                "refused": f"a problem of {characters} characters, of which no policy reads {MAX_CHARACTERS}"
            }
        return {"problem": [question, answer]}
    except Late:
        return {"late": request["seconds"]}
    except MemoryError:
        return {"refused": f"more than {MEMORY_BYTES // 2**30} GiB of memory would be taken"}
    except LIBRARY_ERRORS as error:
        return {"refused": str(error) or type(error).__name__}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def score() -> None:
    request: dict[str, Any] = json.load(sys.stdin)
    dataset = _dataset(request)
    entry = dataset[0]
    # Loads what the scorer imports on first use, before files are out of reach.
    if entry["answer"] is not None:
        dataset.score_answer(entry["answer"], entry)
    renounce()
    sys.stdout.write(json.dumps(float(dataset.score_answer(request["completion"], entry))))


def renounce() -> None:
    """Gives up for good what scoring does not need: files, sockets, children, privileges."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    for limit, bound in (
        (resource.RLIMIT_CPU, SCORE_CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 3),  # the three standard streams: nothing can be opened or connected
    ):
        resource.setrlimit(limit, (bound, bound))


def _dataset(request: dict[str, Any]) -> Any:
    return reasoning_gym.create_dataset(request["dataset"], seed=request["seed"], size=1, **request["params"])


def _parameters(config: Any) -> list[str]:
    return [field.name for field in fields(config)]


def _late(*_: object) -> NoReturn:
    raise Late


if __name__ == "__main__":
    main()
