"""Several murmur processes started by this one, which all end with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from node.ui import interrupts
from swarm.process import die_with_parent, keep_private

OUTPUT_LOG = "output.log"
GRACE_SECONDS = 20.0  # for a node to end its round and save after it was asked to stop


class NodeProcesses:
    """Starts murmur commands; on leaving the block, asks those that still run to stop and waits for them.

    Each gets a session of its own, so that Ctrl-C reaches this process alone and it stops them in order, and
    each is killed by the kernel if this process is.
    """

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
        """Runs `murmur COMMAND`; everything it prints goes to `folder/output.log`."""
        folder.mkdir(parents=True, exist_ok=True)
        keep_private(folder / OUTPUT_LOG)
        with (folder / OUTPUT_LOG).open("ab") as log, interrupts.held():
            process = subprocess.Popen(
                [sys.executable, "-m", "node", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
            self._processes.append(process)
        return process

    def ask_to_stop(self) -> None:
        """Those that still run end their round and save."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ask_to_stop()
        for process in self._processes:
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
