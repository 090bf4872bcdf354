"""Problems that take long to make: a peer's body of some hundred bytes must not buy a tenth of a second each."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from fakes import ALICE, BOB, NODE, SWARM, Addition, ManualClock, body, encode, group, offer
from hypothesis import given
from hypothesis import strategies as st

from policies.rollout import Problem
from policies.tasks.held_out import ReservedError
from policies.tasks.task import TaskTimeoutError
from policies.workers.thread_seconds import charge
from swarm.admission.costly_problems import (
    ADDRESS_SHARE,
    BURST,
    COSTLY_SECONDS,
    PROBLEM_SECONDS,
    RATES,
    SUBNET_SHARE,
    CostlyProblems,
)
from swarm.admission.peer_records import Standing
from swarm.admission.refusal import Reason
from swarm.admission.rollout_verifier import RolloutVerifier, VerifierLimits
from swarm.admission.verdict import Outcome

RESERVED = 9  # a seed whose first draw is kept for evaluation


class Costly(Addition):
    """Problems that take COST seconds to make."""

    def __init__(self, cost: float = 0.06) -> None:
        self.cost = cost
        self.asked: list[float | None] = []

    def canonical_seed(self, seed: int) -> int:
        return seed

    def first_draw(self, seed: int, within: float | None = None) -> Problem:
        self.asked.append(within)
        charge(min(self.cost, within or self.cost))
        if within is not None and within < self.cost:
            raise TaskTimeoutError("too long")
        if seed == RESERVED:
            raise ReservedError("kept for evaluation")
        return self.problem(seed)


@dataclass
class Door:
    """A verifier whose budgets fill by `now`, and what bodies of one group came to."""

    task: Costly
    verifier: RolloutVerifier
    clock: ManualClock
    seed: int = 1000

    @classmethod
    def open(cls, *allowed: str, cost: float = 0.06) -> Door:
        task, clock = Costly(cost), ManualClock()
        limits = VerifierLimits(allowed=frozenset(allowed))
        verifier = RolloutVerifier(SWARM, NODE, {task.name: task}, encode, clock, limits)
        verifier._costly_problems = CostlyProblems(clock)
        return cls(task, verifier, clock)

    def ask(self, peer: str, host: str = "10.0.0.1") -> Outcome:
        """The verdict on a good group of a problem that nobody asked for before."""
        self.seed += 1
        addresses = (f"/ip4/{host}/tcp/4001",)
        announcement, wire = offer(body([group(self.seed)], peer), addresses=addresses)
        [(verdict, _)] = self.verifier.verify(announcement, wire)
        return verdict.outcome


def test_a_newcomer_s_dear_problem_ends_its_body_and_blames_nobody() -> None:
    door = Door.open()
    [(verdict, taken)] = door.verifier.verify(*offer(body([group(1), group(2), group(3)], ALICE)))
    assert (verdict.outcome, verdict.label, taken) == (Outcome.UNUSABLE, "unusable", None)
    assert "takes too long to make" in verdict.detail and "3 further groups" in verdict.detail
    assert door.task.asked == [PROBLEM_SECONDS]
    assert door.verifier.records.standing(ALICE) is Standing.NEWCOMER


def test_an_honest_newcomer_becomes_known_beside_a_hundred_names_at_one_place() -> None:
    """They ask first, for ten minutes, and each has another name; the honest one asks as often as it publishes."""
    door = Door.open()
    door.clock.now += BURST + 1
    for number in range(100):
        door.ask(f"12D3Mallory{number}", "192.0.2.7")
        if number % 2:
            door.ask(BOB, "10.0.0.2")
        door.clock.now += 6.0
    assert door.verifier.records.standing(BOB) is Standing.KNOWN
    known = [peer for peer in door.verifier.records.peers() if door.verifier.records.record(peer).good > 0.5]
    assert len(known) < 20


def test_a_known_peer_s_are_made_until_its_budget_is_spent_and_later_again() -> None:
    door = Door.open(ALICE)
    outcomes = [door.ask(ALICE) for _ in range(30)]
    made = outcomes.count(Outcome.ACCEPTED)
    assert outcomes[:made] == [Outcome.ACCEPTED] * made and made >= 12
    assert set(outcomes[made:]) == {Outcome.UNUSABLE}
    assert door.verifier.records.standing(ALICE) is Standing.KNOWN
    door.clock.now += 10.0
    assert door.ask(ALICE) is Outcome.ACCEPTED


def test_none_is_made_for_a_group_that_its_sender_says_teaches_nothing() -> None:
    door = Door.open(ALICE)
    equal = group(7, ["it is 1", "it is 2"])  # both wrong, as they claim
    [(verdict, _)] = door.verifier.verify(*offer(body([equal, group(8)], ALICE)))
    assert (verdict.outcome, door.task.asked) == (Outcome.UNUSABLE, [PROBLEM_SECONDS])
    assert door.ask(ALICE) is Outcome.ACCEPTED


def test_a_seed_that_takes_several_draws_is_refused_after_one() -> None:
    """An attacker can look for seeds whose first ten draws are all kept for evaluation."""
    door = Door.open(ALICE)
    [(verdict, _)] = door.verifier.verify(*offer(body([group(RESERVED)], ALICE)))
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, Reason.HELD_OUT)
    assert door.task.asked == [COSTLY_SECONDS]


asks = st.tuples(
    st.booleans(), st.integers(0, 255), st.integers(0, 3), st.floats(0.021, 9.0), st.floats(0, 30)
)


@given(st.lists(asks, max_size=200))
def test_costly_problems_take_a_share_of_a_core_whatever_is_asked(
    asked: list[tuple[bool, int, int, float, float]],
) -> None:
    """Known names too: they are cheap where another task of the swarm is."""
    clock = ManualClock()
    problems, began = CostlyProblems(clock), clock.now
    spent: dict[tuple[Standing, str], float] = defaultdict(float)
    for is_known, subnet, host, cost, waited in asked:
        clock.now += waited
        standing = Standing.KNOWN if is_known else Standing.NEWCOMER
        place = f"10.0.{subnet}.{host}"
        if (within := problems.seconds(standing, place)) == PROBLEM_SECONDS:
            continue
        problems.spend(standing, place, min(cost, within))
        for whose in ("all", place, f"subnet {subnet}"):
            spent[standing, whose] += min(cost, within)
    for (standing, whose), seconds in spent.items():
        share = 1.0 if whose == "all" else SUBNET_SHARE if "subnet" in whose else ADDRESS_SHARE
        bound = RATES[standing] * share * (clock.now - began + BURST) + COSTLY_SECONDS
        assert seconds <= bound + 1e-9


def test_budgets_that_are_full_again_take_no_memory() -> None:
    clock = ManualClock()
    problems = CostlyProblems(clock)
    for number in range(300):
        problems.spend(Standing.KNOWN, f"10.{number % 250}.{number}.1", 0.03)
        clock.now += 60.0
    assert len(problems._left) < 10
