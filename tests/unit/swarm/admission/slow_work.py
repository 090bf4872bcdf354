"""A verifier whose work takes as many processor seconds as a test says."""

from __future__ import annotations

import pytest
from fakes import NODE, SWARM, Addition, ManualClock, encode

from policies.rollout import Finish, Problem
from swarm.admission.rollout_verifier import RolloutVerifier


class Work:
    """A verifier whose encoding and scoring take as many processor seconds as given; all else takes none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: float = 0.0, scoring: float = 0.0) -> None:
        self.seconds, self.encoded = 0.0, 0
        for clock in (
            "rollout_verifier.thread_seconds",
            "thread_work.thread_seconds",
            "thread_work.monotonic",
        ):
            monkeypatch.setattr(f"swarm.admission.{clock}", lambda: self.seconds)
        work = self

        class Slow(Addition):
            def score(self, problem: Problem, completion: str) -> float | None:
                work.seconds += scoring
                return super().score(problem, completion)

        def slow_encode(text: str, finish: Finish) -> tuple[int, ...]:
            work.seconds += encoding
            work.encoded += 1
            return encode(text, finish)

        self.task = Slow()
        self.verifier = RolloutVerifier(SWARM, NODE, {Addition.name: self.task}, slow_encode, ManualClock())
