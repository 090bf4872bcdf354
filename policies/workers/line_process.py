"""A helper process that answers JSON with JSON, a line a message, each within a deadline; started when first needed.

What a stranger's text or parameters may make slow runs there: it can be killed at any moment, and no lock, no thread
and no memory of this process is lost with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.plain_files import parse_json
from policies.workers.thread_seconds import charge


@dataclass(slots=True)
class LineProcess:
    """A Python script and how it is talked to. Not thread-safe: its owner holds a lock over each question.

    The child writes one greeting line, then one line for each that it reads. Every answer is an object whose `cpu`
    is the processor time of the child so far, in seconds.
    """

    script: Path
    arguments: Sequence[str] = ()  # of the script
    flags: Sequence[str] = ("-P",)  # of Python
    start_seconds: float = 120.0  # of wall time to the greeting; a busy machine's cold disk takes a minute
    hash_seed: str | None = None  # of Python's string hashes; None: as Python draws it
    bare: bool = False  # without the environment of this process, in the root folder
    ending: int | None = (
        None  # how the last child ended by itself: its exit code, or less than 0, a signal's number
    )
    greeting: Any = None
    child: subprocess.Popen[bytes] | None = None
    _owner: int = 0  # process that started the child: a fork shares its pipes, and must not use them
    _unread: bytes = b""
    _cpu: float = 0.0

    @property
    def running(self) -> bool:
        return self.child is not None and self._owner == os.getpid() and self.child.poll() is None

    def start(self) -> None:
        """Starts the child if none of this process runs. Raises OSError, EOFError or TimeoutError where it does not."""
        if self.running:
            return
        self.close()
        self.ending = None
        # A session of its own: Ctrl-C is for the node, which still needs answers to finish its round.
        self.child = subprocess.Popen(
            [sys.executable, *self.flags, str(self.script), *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=self._environment(),
            cwd="/" if self.bare else None,
        )
        self._owner = os.getpid()
        try:
            self.greeting = self._line(self.start_seconds)
        except (OSError, EOFError, TimeoutError):
            self.close()
            raise

    def ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer. Whatever goes wrong ends the child, and the next question starts another.

        Raises TimeoutError after `seconds` of wall time, OSError or EOFError where the child ended before it answered.
        """
        self.start()
        assert self.child is not None and self.child.stdin is not None
        try:
            self.child.stdin.write(json.dumps(question).encode() + b"\n")
            self.child.stdin.flush()
            answer: dict[str, Any] = self._line(seconds)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            if isinstance(error, TimeoutError):
                charge(max(0.0, seconds))
            raise
        spent = float(answer["cpu"])
        charge(max(0.0, spent - self._cpu))
        self._cpu = spent
        return answer

    def cpu_seconds(self) -> float:
        """CPU seconds of the child that runs now, as of its last answer; an ended one's are its parent's children's."""
        return self._cpu if self.child is not None and self._owner == os.getpid() else 0.0

    def close(self) -> None:
        """Ends the child, if there is one of this process; the next question starts another."""
        child, self.child, self._unread, self._cpu = self.child, None, b"", 0.0
        if child is None or self._owner != os.getpid():
            return
        self.ending = child.poll()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # with processes of its own, if it has any
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()

    def _environment(self) -> Mapping[str, str] | None:
        if self.bare:
            return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return None if self.hash_seed is None else {**os.environ, "PYTHONHASHSEED": self.hash_seed}

    def _line(self, seconds: float) -> Any:
        """The next message of the child."""
        assert self.child is not None and self.child.stdout is not None
        descriptor = self.child.stdout.fileno()
        deadline = time.monotonic() + seconds
        while b"\n" not in self._unread:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            if not (received := os.read(descriptor, 65536)):
                with suppress(subprocess.TimeoutExpired):
                    self.child.wait(1.0)  # it is on its way out: how it ended is looked at in `close`
                raise EOFError
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return parse_json(line)
