"""The sandbox of library scorers that may evaluate a completion: a throw-away process with a deadline.

The process has no environment, no files, no sockets, no children and bounded memory and time (see
`gym_child`). It is a fence and not a jail: a scorer that evaluates text lets that text choose its own
score, and as the same user it may send signals unless the node runs as root. So it is off unless asked for.
"""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from policies.tasks.task import Param

logger = logging.getLogger(__name__)

_CHILD = Path(__file__).with_name("gym_child.py")


@dataclass(frozen=True, slots=True)
class SandboxScorer:
    """Runs the scorer of one reasoning-gym dataset; each completion costs one process, about 2 s of CPU."""

    dataset: str
    params: Mapping[str, Param]
    deadline: float = 15.0  # seconds of wall time; a loaded machine takes 5 s to start the process

    def score(self, seed: int, completion: str) -> float | None:
        """Score in [0, 1]; 0.0 when the scorer fails or answers anything but a number, None when it overruns."""
        request = {
            "dataset": self.dataset,
            "params": dict(self.params),
            "seed": seed,
            "completion": completion,
        }
        try:
            # `run` kills the process at the deadline; its children, had it any, cannot outlive RLIMIT_NPROC.
            done = subprocess.run(
                [sys.executable, "-I", str(_CHILD), "score"],
                input=json.dumps(request).encode(),
                capture_output=True,
                timeout=self.deadline,
                env={},
                cwd="/",
                check=False,
            )
        except subprocess.TimeoutExpired:
            logger.warning("scorer of %s overran %.0f s on seed %d", self.dataset, self.deadline, seed)
            return None
        if done.returncode < 0:  # by the limit on its computing, or by the system for want of memory
            logger.warning("scorer of %s was killed by signal %d", self.dataset, -done.returncode)
            return None
        if done.returncode != 0:
            logger.warning("scorer of %s ended with %d on seed %d", self.dataset, done.returncode, seed)
            return 0.0
        return _bounded(done.stdout)


def _bounded(output: bytes) -> float:
    try:
        value = float(output[:64])
    except ValueError:
        return 0.0
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
