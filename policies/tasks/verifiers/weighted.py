"""A weighted sum of verifiers, such as a right answer and a form to write it in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.tasks.verifiers.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Weighted:
    """The mean of its parts by weight, so that the best possible reward is 1."""

    parts: Sequence[tuple[Verifier, float]]  # with their weights, above zero

    @property
    def version(self) -> int:
        return 1

    def check_answer(self, answer: str) -> None:
        """Raises VerifierError."""
        for verifier, _ in self.parts:
            verifier.check_answer(answer)

    def score(self, completion: str, answer: str) -> float | None:
        """None where any part has no verdict."""
        total = 0.0
        for verifier, weight in self.parts:
            score = verifier.score(completion, answer)
            if score is None:
                return None
            total += weight * score
        return total / sum(weight for _, weight in self.parts)
