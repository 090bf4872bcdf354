"""The sandbox of library scorers that may evaluate a completion: a throw-away process for each.

The process has no environment, no files, no sockets, no children and bounded memory and time (see
`sandbox_work`). It is a fence and not a jail: a scorer that evaluates text lets that text choose its own
score, and as the same user it may send signals unless the node runs as root. So it is off unless asked for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from policies.tasks.task import Param
from policies.unjudged import tell_unjudged
from policies.workers.pool import Worker

logger = logging.getLogger(__name__)

SCORERS = Worker(Path(__file__).with_name("sandbox_work.py"), flags=("-I",), bare=True)


@dataclass(frozen=True, slots=True)
class SandboxScorer:
    """Runs the scorer of one reasoning-gym dataset."""

    dataset: str
    params: Mapping[str, Param]
    worker: Worker = field(default=SCORERS, compare=False)

    def score(self, seed: int, completion: str) -> float | None:
        """Score in [0, 1]; 0.0 when the scorer raises or answers anything but a number, None when it overruns."""
        answer = self.worker.ask(
            dataset=self.dataset, params=dict(self.params), drawn=seed, completion=completion
        )
        if "score" in answer:
            return _bounded(answer["score"])
        if "raised" in answer:
            logger.warning("scorer of %s raised on a text for seed %d", self.dataset, seed)
            return 0.0
        tell_unjudged(f"scorer of {self.dataset} for seed {seed}", completion, self.worker.why(answer))
        return None


def _bounded(output: str) -> float:
    try:
        value = float(output)
    except ValueError:
        return 0.0
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
