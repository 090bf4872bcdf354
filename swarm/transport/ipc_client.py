"""The IPC client starts one transport process, calls it from any thread and ends it."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from policies.error_words import brief
from swarm.errors import TransportDown, TransportError
from swarm.network import ipc
from swarm.network.ipc import DhtSettings
from swarm.process import keep_private
from swarm.visible_text import visible
from swarm.wire.announcement import Summary

_END_TIMEOUT = 5.0  # seconds for a process to end by itself: it takes 3 to stop a daemon that hangs
_REAP_PERIOD = 0.01
_LAST_BYTES = 4096  # in which a process's last line is looked for
# For processes that import hivemind: it imports torch, and nothing is computed with that.
CHILD_ENVIRONMENT = {
    "HIVEMIND_LOGLEVEL": "ERROR",
    "GOLOG_LOG_LEVEL": "error",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONWARNINGS": "ignore",  # as errors they would end the imports
}


class IpcClient:
    """One transport process, from its start to its end. `listen` has a thread of its own; any other may `call`."""

    def __init__(self, settings: DhtSettings, key: Path, latest: tuple[bytes, Summary] | None) -> None:
        """Starts the process, which announces `latest` once it has joined. Raises OSError.

        The starting thread has to outlive the process: Linux sends the parent-death signal when it ends.
        """
        self._output = _output_file(settings.log)
        self._output_begin = self._output.seek(0, os.SEEK_END)
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _spawn(theirs, self._output)
        self._settings = settings
        # Two objects for one socket: each thread sets the time that it is ready to wait.
        self._incoming, self._outgoing = ours, ours.dup()
        self._sending = threading.Lock()
        self._ids = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._ended = False
        publication = (latest[0], astuple(latest[1])) if latest else None
        self._first_message = [settings.to_wire(), str(key.resolve()), publication]

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, verb: str, *arguments: Any) -> Any:
        """Raises TransportDown, FetchFailed or TransportError; never later than the verb's deadline."""
        deadline = time.monotonic() + ipc.call_deadline(verb, self._settings)
        answer: Future[Any] = Future()
        call = next(self._ids)
        self._waiting[call] = answer
        try:
            if self._ended:
                raise TransportDown("the transport process has ended")
            self._send([call, verb, arguments], deadline - time.monotonic())
            return answer.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError as error:
            raise TransportDown(f"{verb}: no answer from the transport process") from error
        finally:
            self._waiting.pop(call, None)

    def listen(self, on_state: Callable[[dict[str, Any]], None]) -> str:
        """Hands out answers and states until the process is gone or silent; returns which."""
        patience = self._settings.start_timeout
        try:
            self._send(self._first_message, patience)
            while True:
                self._incoming.settimeout(patience)
                call, kind, result = self._receive()
                patience = ipc.SILENCE
                if call == ipc.STATE:
                    on_state(result)
                else:
                    self._resolve(call, kind, result)
        except TimeoutError:
            return f"the transport process was silent for {patience:g} s"
        except (OSError, EOFError, TransportError):
            return "the transport process ended"
        finally:
            self._ended = True
            for waiting in list(self._waiting.values()):
                _fail(waiting, TransportDown("the transport process ended"))

    def shutdown(self) -> None:
        """Asks the process to end; `listen` returns soon after."""
        with suppress(OSError):
            self._outgoing.shutdown(socket.SHUT_RDWR)

    def end(self) -> tuple[int, float, str]:
        """Waits for the process, kills it when it takes too long, frees all.

        Returns its exit status, its CPU seconds with those of its children that it waited for, and the last line that
        it wrote; empty where it wrote none.
        """
        self.shutdown()
        used = self._reap(_END_TIMEOUT)
        if used is None:
            self._process.kill()
            used = self._reap(float("inf"))
        self._incoming.close()
        self._outgoing.close()
        with self._output as output:
            output.seek(max(self._output_begin, output.seek(0, os.SEEK_END) - _LAST_BYTES))
            last = output.read().decode(errors="replace").rstrip().rpartition("\n")[2]
        return self._process.returncode, used or 0.0, brief(visible(last)) if last else ""

    def _reap(self, patience: float) -> float | None:
        """CPU seconds of the ended process; None when it still runs after `patience` seconds."""
        deadline = time.monotonic() + patience
        while True:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                return usage.ru_utime + usage.ru_stime
            if time.monotonic() >= deadline:
                return None
            time.sleep(_REAP_PERIOD)

    def _send(self, message: Any, timeout: float) -> None:
        frame = ipc.pack(message)
        deadline = time.monotonic() + timeout
        if not self._sending.acquire(timeout=max(0.0, timeout)):
            raise TransportDown("the transport process takes no calls")
        try:
            self._outgoing.settimeout(max(0.001, deadline - time.monotonic()))
            self._outgoing.sendall(frame)
        except OSError as error:  # after half a frame the stream is of no use any more
            self.shutdown()
            raise TransportDown("the transport process takes no calls") from error
        finally:
            self._sending.release()

    def _receive(self) -> tuple[int, str | None, Any]:
        return ipc.unpack_message(self._read(ipc.frame_length(self._read(ipc.LENGTH.size))))

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._incoming.recv(min(size - len(parts), 2**20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _resolve(self, call: int, kind: str | None, result: Any) -> None:
        waiting = self._waiting.get(call)
        if waiting is None:  # its caller gave up
            return
        if kind is None:
            waiting.set_result(result)
        else:
            _fail(waiting, ipc.ERRORS.get(kind, TransportError)(result))


def _fail(waiting: Future[Any], error: TransportError) -> None:
    if not waiting.done():
        waiting.set_exception(error)


def _output_file(log: Path | None) -> IO[bytes]:
    """Raises OSError."""
    if log is None:
        return TemporaryFile()
    keep_private(log)
    return log.open("ab+")


def _spawn(theirs: socket.socket, output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "swarm.network", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=os.environ | CHILD_ENVIRONMENT,
        start_new_session=True,  # Ctrl-C is for the node, which then closes its transport in order
    )
