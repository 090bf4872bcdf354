"""Refusals to tell: why rollouts of a peer were left out, kept until the next fetch from it takes the word along.

A sender hears of nothing else that its work did not arrive.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping

from swarm.admission.verdict import Verdict

_KEPT = 256  # peers


class RefusalsToTell:
    """Rollouts by peer and reason. Bounded: those that waited longest are forgotten."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, Counter[str]] = OrderedDict()

    def note(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            refused = Counter(reason.value for reason in verdict.left_out)
            if verdict.reason is not None:
                # How many a refused body had is not known: one is told.
                refused[verdict.reason.value] += max(1, verdict.rollouts)
            self.add(verdict.peer, refused)

    def add(self, peer: str, refused: Mapping[str, int]) -> None:
        if refused:
            self._waiting.setdefault(peer, Counter()).update(refused)
            if len(self._waiting) > _KEPT:
                self._waiting.popitem(last=False)

    def take(self, peer: str) -> Mapping[str, int]:
        """What is to be told to `peer`, which waits no more."""
        return self._waiting.pop(peer, Counter())
