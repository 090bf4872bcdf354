"""A benchmark's child process, which is told its plan and answers in lines."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import IO

from swarm.transport.ipc_client import CHILD_ENVIRONMENT


def start_child(module: str, plan: str, errors: IO[bytes]) -> subprocess.Popen[str]:
    """Runs `module` with its `plan` as the only argument. It ends when its standard input is closed."""
    return subprocess.Popen(
        [sys.executable, "-m", module, plan],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=os.environ | CHILD_ENVIRONMENT,
        start_new_session=True,  # Ctrl-C is for the benchmark, which then ends its children in order
    )
