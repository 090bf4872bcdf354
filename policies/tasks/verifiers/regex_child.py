"""Regular expressions in a process of their own: some take years over some texts. A script: `regex` starts it.

Speaks JSON, a line a message: first a greeting; then for each {pattern, ignore_case, text, seconds} one of {"found":
bool, "grouped": bool, "answer": text or null}, {"late": true}, with the CPU seconds of the process so far.
Imports nothing of ours.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
import time
from typing import Any, NoReturn

MEMORY_BYTES = 2**30  # address space


class Late(BaseException):
    """Ends a search that computes for too long."""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGPROF, _late)
    _tell({"ready": True})
    for line in sys.stdin:
        _tell({**_answer(json.loads(line)), "cpu": time.process_time()})


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        try:
            return _search(request)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except (Late, MemoryError, RecursionError, re.error):
        return {"late": True}


def _search(request: dict[str, Any]) -> dict[str, Any]:
    """Whether the pattern is found, and what its group `answer` holds in the last place where it is."""
    flags = re.DOTALL | (re.IGNORECASE if request["ignore_case"] else 0)
    pattern = re.compile(request["pattern"], flags)
    grouped = "answer" in pattern.groupindex
    last = pattern.search(request["text"])
    while (
        grouped and last and (further := pattern.search(request["text"], max(last.end(), last.start() + 1)))
    ):
        last = further
    answer = last["answer"] if last and grouped else None
    return {"found": last is not None, "grouped": grouped, "answer": answer}


def _tell(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _late(*_: object) -> NoReturn:
    raise Late


if __name__ == "__main__":
    main()
