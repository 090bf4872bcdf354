"""The Task seam: a generator of problems with a verifier, deterministic in its seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from policies.rollout import Problem

Param = bool | int | float | str

# Seeds below TRAIN_SEEDS are for training and may travel; those from it on are held out for evaluation,
# so no peer can hand a node the problems that it is judged by.
TRAIN_SEEDS = 2**31
HELD_OUT_SEED = TRAIN_SEEDS


class TaskError(ValueError):
    """A task that cannot be built as asked; the message says what to change."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What names a task in configs and manifests: `sort`, `rg:chain_sum`, with parameters where it takes any."""

    name: str
    params: Mapping[str, Param] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """Eight hex digits over the parameters: equal parameters, equal problems. Empty without parameters."""
        if not self.params:
            return ""
        canonical = json.dumps(dict(self.params), sort_keys=True, separators=(",", ":"))
        return "#" + hashlib.sha256(canonical.encode()).hexdigest()[:8]


class Task(Protocol):
    """`problem` is pure in its seed; `score` is pure, bounded in time, and never evaluates text as code."""

    @property
    def name(self) -> str:
        """Full name `family@version`, with `#fingerprint` when there are parameters. Peers match on it."""
        ...

    def problem(self, seed: int) -> Problem:
        """The problem of this seed; the same on every node that runs the same task name."""
        ...

    def score(self, problem: Problem, completion: str) -> float:
        """Reward in [0, 1] of a completion's text. Never raises on any text."""
        ...
