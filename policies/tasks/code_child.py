"""The owner's own task in a process of its own: makes problems and scores completions. A script: `process` starts it.

Speaks JSON, a line a message. Its argument names the class: `FILE.py:Class` or `package.module:Class`.
First a greeting, {"source": 16 hex digits over the module's source} or {"failed": why}. Then {"problem": [prompt,
answer]} for {"seed", "seconds"}, and with a "completion" {"score": number}; else {"late": true} or {"failed": why},
each with the CPU seconds so far.
Imports nothing of ours.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import os
import resource
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

MEMORY_BYTES = 4 * 2**30  # address space
MAX_CHARACTERS = 200_000  # of prompt and answer


class Late(BaseException):
    """Ends code that computes for too long; not an Exception, so that none of it is caught there."""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the code prints must not stand among the answers

    def tell(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGPROF, _late)
    try:
        module, name = _loaded(sys.argv[1])
        task = getattr(module, name)()
        source = hashlib.sha256(Path(inspect.getfile(module)).read_bytes()).hexdigest()[:16]
    except Exception as error:  # noqa: BLE001  whatever the owner's code raises is told to its owner
        tell({"failed": _said(error)})
        return
    tell({"source": source})
    for line in sys.stdin:
        tell({**_answer(task, json.loads(line)), "cpu": time.process_time()})


def _loaded(where: str) -> tuple[ModuleType, str]:
    module, _, name = where.rpartition(":")
    if not module.endswith(".py"):
        return importlib.import_module(module), name
    spec = importlib.util.spec_from_file_location(Path(module).stem, module)
    if spec is None or spec.loader is None:
        raise ImportError(f"{module} is no Python file")
    sys.path.insert(0, str(Path(module).parent))
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded, name


def _answer(task: Any, request: dict[str, Any]) -> dict[str, Any]:
    signal.setitimer(signal.ITIMER_PROF, request["seconds"])
    try:
        if "completion" in request:
            return _score(task.score(tuple(request["problem"]), request["completion"]))
        return _problem(task.problem(request["seed"]))
    except Late:
        return {"late": True}
    except Exception as error:  # noqa: BLE001  a verdict that was not come to, or a seed without a problem
        return {"failed": _said(error)}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _problem(made: Any) -> dict[str, Any]:
    if not (
        isinstance(made, tuple | list) and len(made) == 2 and all(isinstance(part, str) for part in made)
    ):
        return {"failed": f"problem() has to give (prompt, answer), two texts; it gave {str(made)[:80]!r}"}
    if not made[0].strip() or sum(map(len, made)) > MAX_CHARACTERS:
        return {"failed": f"problem() gave an empty prompt, or over {MAX_CHARACTERS} characters"}
    return {"problem": list(made)}


def _score(given: Any) -> dict[str, Any]:
    if isinstance(given, bool | int | float) and math.isfinite(given) and 0 <= given <= 1:
        return {"score": float(given)}
    return {"failed": f"score() has to give a number from 0 to 1; it gave {str(given)[:80]!r}"}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:400]


def _late(*_: object) -> NoReturn:
    raise Late


if __name__ == "__main__":
    main()
