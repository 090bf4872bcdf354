"""Usefulness: whether what a peer recommends would make this node's own right answers likelier.

Own rewards are the judge. Of each own group the direction in which its right answers alone pull the policy goes into a
running sum of its task; a peer's group is worth the cosine of its own right answers' pull with that of the same task.
Wrong answers are left out on both sides: what pushes a phrase up pushes own right and own wrong answers down alike,
so that the whole groups' gradients hardly meet. One group says little; `PeerRecord` has the mean and its error.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from policies.direction import SKETCH, Direction

# Of what was summed up before, at each measurement: some five of them count. One alone has too few own groups.
KEPT = 0.8


class OwnDirections:
    """Which way the own right answers to each task pulled of late. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, Direction] = {}  # by task

    def compare(
        self, own: Sequence[tuple[str, Direction]], theirs: Sequence[tuple[str, Direction]]
    ) -> list[float | None]:
        """Takes up `own`, then the cosine for each of `theirs`; all by task, and of length 1 each.

        None where this node has had no right answer to the task yet: nothing is said of that.
        """
        with self._lock:
            self._sums = {task: np.float32(KEPT) * before for task, before in self._sums.items()}
            for task, direction in own:
                self._sums[task] = self._sums.get(task, np.float32(0.0)) + direction
            return [self._cosine(task, direction) for task, direction in theirs]

    def _cosine(self, task: str, direction: Direction) -> float | None:
        mine = self._sums.get(task)
        if mine is None or not (length := float(np.linalg.norm(mine))):
            return None
        return float(np.clip(direction @ mine / length, -1.0, 1.0))

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON-able data for the checkpoint."""
        with self._lock:
            return {task: base64.b64encode(mine.tobytes()).decode() for task, mine in self._sums.items()}

    def restore(self, data: dict[str, Any]) -> None:
        """Takes over what `snapshot` gave, straight or through JSON; sums of another size are begun anew."""
        read = {task: np.frombuffer(base64.b64decode(kept), dtype=np.float32) for task, kept in data.items()}
        with self._lock:
            self._sums = {task: mine.copy() for task, mine in read.items() if len(mine) == SKETCH}
