"""Problems that take long to make: a peer's body of some hundred bytes must not buy a tenth of a second each."""

from __future__ import annotations

import pytest
from fakes import ALICE, BOB, NODE, SWARM, Addition, ManualClock, body, encode, group, offer

from policies.rollout import Problem
from policies.tasks.held_out import ReservedError
from policies.tasks.task import TaskTimeoutError
from swarm.admission.group_reader import PROBLEM_SECONDS
from swarm.admission.peer_records import Standing
from swarm.admission.refusal import Reason
from swarm.admission.rollout_verifier import SECONDS_A_DEAR_PROBLEM, RolloutVerifier, VerifierLimits
from swarm.admission.verdict import Outcome

VERIFIER = "swarm.admission.rollout_verifier"
RESERVED = 9  # a seed whose first draw is kept for evaluation


class Dear(Addition):
    """Problems that take over PROBLEM_SECONDS to make."""

    def __init__(self) -> None:
        self.asked: list[float | None] = []

    def settled_seed(self, seed: int) -> int:
        return seed

    def first_draw(self, seed: int, within: float | None = None) -> Problem:
        self.asked.append(within)
        if within is not None:
            raise TaskTimeoutError("too long")
        if seed == RESERVED:
            raise ReservedError("kept for evaluation")
        return self.problem(seed)


def door(task: Addition, *allowed: str) -> RolloutVerifier:
    limits = VerifierLimits(allowed=frozenset(allowed))
    return RolloutVerifier(SWARM, NODE, {task.name: task}, encode, ManualClock(), limits)


def test_a_newcomer_s_dear_problem_ends_its_body_and_blames_nobody() -> None:
    task = Dear()
    verifier = door(task)
    [(verdict, taken)] = verifier.verify(*offer(body([group(1), group(2), group(3)], ALICE)))
    assert (verdict.outcome, taken) == (Outcome.UNUSABLE, None)
    assert "takes too long to make" in verdict.detail and "3 further groups" in verdict.detail
    assert task.asked == [PROBLEM_SECONDS]
    assert verifier.records.standing(ALICE) is Standing.NEWCOMER


def test_newcomers_have_one_a_minute_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(f"{VERIFIER}.monotonic", lambda: now)
    verifier = door(Dear())
    assert verifier.verify(*offer(body([group(1)], ALICE)))[0][0].outcome is Outcome.UNUSABLE
    now += SECONDS_A_DEAR_PROBLEM + 1
    assert verifier.verify(*offer(body([group(2)], ALICE)))[0][0].outcome is Outcome.ACCEPTED
    assert verifier.verify(*offer(body([group(3)], BOB)))[0][0].outcome is Outcome.UNUSABLE


def test_a_known_peer_s_are_made() -> None:
    verdicts = [verdict for verdict, _ in door(Dear(), ALICE).verify(*offer(body([group(1)], ALICE)))]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.ACCEPTED]


def test_a_seed_that_takes_several_draws_is_refused_after_one() -> None:
    """An attacker can look for seeds whose first ten draws are all kept for evaluation."""
    task = Dear()
    verifier = door(task, ALICE)
    [(verdict, _)] = verifier.verify(*offer(body([group(RESERVED)], ALICE)))
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Reason.HELD_OUT)
    assert task.asked == [PROBLEM_SECONDS, None]
