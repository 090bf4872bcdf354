"""Processes that a command starts: they end with it, also where a signal comes as one is being started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SIGNALLED = """
import os, signal, sys
from pathlib import Path
from node.baseline.processes import NodeProcesses
from node.ui import interrupts

os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
interrupts.raise_stopped()
try:
    with NodeProcesses() as processes:
        processes.start(["--version"], Path(sys.argv[1]))
        print("went on")
except interrupts.Stopped:
    print("stopped, and", processes._processes[0].poll() is not None)
"""


def test_a_signal_amid_a_fork_is_not_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SIGNALLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "stopped, and True\n" and not done.stderr
