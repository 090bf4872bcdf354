"""reasoning-gym's own scorers as a kind of work: each text in a fork of its own. A worker process runs this file.

A scorer may evaluate what it scores. So the process that knows the library never scores: it forks, the fork gives up
files, sockets, children and privileges, scores one text, and ends. For {dataset, params, drawn, completion}:
{"score": number}, {"late": true}, {"failed": why} where the system ended the fork, or {"raised": true}.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import reasoning_gym

MEMORY_BYTES = 2 * 2**30
NOBODY = 65534
LONGEST = 64  # bytes of a score
WALL_SECONDS = 30.0  # of a fork, which may sleep
RAISED = 3  # a fork's exit status


def greet(arguments: Sequence[str]) -> dict[str, Any]:
    """Nothing to tell."""
    return {}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """What the fork gives. `seconds` of computing are the fork's too."""
    read, write = os.pipe()
    fork = os.fork()
    if not fork:
        _score(question, write)
    os.close(write)
    try:
        told, in_time = _told(read)
    finally:
        os.kill(fork, signal.SIGKILL)  # not reaped yet, so the number is still its own
        _, status = os.waitpid(fork, 0)
        os.close(read)
    if told:
        return {"score": told.decode("ascii", "replace")}
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if not in_time or ended_by == signal.SIGXCPU:
        return {"late": True}
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == RAISED:
        return {"raised": True}
    return {"failed": f"its fork ended ({signal.Signals(ended_by).name if ended_by else status})"}


def _told(read: int) -> tuple[bytes, bool]:
    """What the fork wrote, and whether it came to an end in time."""
    told, deadline = b"", time.monotonic() + WALL_SECONDS
    while len(told) < LONGEST:
        ready, _, _ = select.select([read], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return b"", False
        if not (part := os.read(read, LONGEST)):
            break
        told += part
    return told, True


def _score(question: dict[str, Any], write: int) -> NoReturn:
    """In the fork: ends it."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor, stream in ((nothing, 0), (write, 1), (nothing, 2)):
            os.dup2(descriptor, stream)
        os.closerange(3, 4096)
        dataset = reasoning_gym.create_dataset(
            question["dataset"], seed=question["drawn"], size=1, **question["params"]
        )
        entry = dataset[0]
        # Loads what the scorer imports on first use, before files are out of reach.
        if entry["answer"] is not None:
            dataset.score_answer(entry["answer"], entry)
        _renounce(question["seconds"])
        score = float(dataset.score_answer(question["completion"], entry))
        os.write(1, repr(score).encode())
        os._exit(0)
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)  # what the machine, or the fence, lacks says nothing of the text
    finally:
        os._exit(RAISED)


def _renounce(seconds: float) -> None:
    """Gives up for good what scoring does not need: files, sockets, children, privileges."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    cpu = int(sum(os.times()[:2]) + seconds) + 1
    for limit, bound in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 3),  # the three standard streams: nothing can be opened or connected
    ):
        resource.setrlimit(limit, (bound, bound))
