"""Costly problems: processor time for problems that take longer to make than a peer may ask for.

Before an answer can be judged its problem has to be made, from a seed that its sender chose and at a cost that nobody
knows beforehand. What takes longer than PROBLEM_SECONDS is paid for from budgets: of the sender's address, of its
subnet, and of its kind, known peers or newcomers. A budget fills as time goes by. A problem is begun where all three
have something left, and what it takes is taken off, below nothing if need be. So in any t seconds those of one kind
take RATES[kind] * (t + BURST) + COSTLY_SECONDS at most, whatever seeds are sent, and however many names send them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

from policies.rollout import Problem
from policies.workers.thread_seconds import thread_seconds
from swarm.admission.peer_records import Standing
from swarm.sampling.newcomer_places import subnet_of

# CPU seconds of a problem that anybody may ask for: in most tasks one takes 1 ms, in one of them 30 to 100.
PROBLEM_SECONDS = 0.02
COSTLY_SECONDS = 1.0  # of one that a budget pays for; ten times what any task takes here, for slower machines
RATES = {Standing.KNOWN: 0.1, Standing.NEWCOMER: 0.01}  # of one core, for all costly problems of a kind
# Of that, for one address and for one subnet: names at one place leave most of it to others.
ADDRESS_SHARE, SUBNET_SHARE = 1 / 8, 1 / 4
BURST = 60.0  # seconds over which a budget fills

_Budget = tuple[Standing, str, float]  # kind, address or subnet ("" for all), CPU seconds a second


class CostlyProblems:
    """The budgets of one node. Not thread-safe."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        # What is left of each budget, and when that was so; those that are full are not kept, so that there are only
        # as many as were paid from within minutes. Newcomers begin a burst behind, or each restart would give them one.
        rate = RATES[Standing.NEWCOMER]
        self._left = {(Standing.NEWCOMER, "", rate): (-BURST * rate, now())}

    def of_peer(self, standing: Standing, host: str) -> PeerBudget:
        """What a peer at `host`, an IP address or "", may have its problems made from."""
        return PeerBudget(self, standing, host)

    def seconds(self, standing: Standing, host: str) -> float:
        """CPU seconds that the next problem may take."""
        paid = all(self._level(budget) > 0.0 for budget in _budgets(standing, host))
        return COSTLY_SECONDS if paid else PROBLEM_SECONDS

    def spend(self, standing: Standing, host: str, seconds: float) -> None:
        """Notes what a problem took; one that anybody may ask for costs no budget."""
        if seconds <= PROBLEM_SECONDS:
            return
        now = self._now()
        for budget in _budgets(standing, host):
            self._left[budget] = (self._level(budget) - seconds, now)
        self._left = {
            budget: left for budget, left in self._left.items() if self._level(budget) < _full(budget)
        }

    def _level(self, budget: _Budget) -> float:
        left, at = self._left.get(budget, (_full(budget), 0.0))
        return min(_full(budget), left + budget[2] * (self._now() - at))


@dataclass(frozen=True, slots=True)
class PeerBudget:
    """What one peer's problems may take."""

    problems: CostlyProblems
    standing: Standing
    host: str

    def draw(self, make: Callable[[float], Problem], promising: bool) -> Problem:
        """The problem that `make` makes within so many CPU seconds. Raises what it raises.

        No budget is for a group that its own sender says there is nothing to learn from (not `promising`).
        A draw that had no more than anybody's costs no budget, or who asks in vain would keep others from theirs.
        """
        within = self.problems.seconds(self.standing, self.host) if promising else PROBLEM_SECONDS
        started = thread_seconds()
        try:
            return make(within)
        finally:
            if within > PROBLEM_SECONDS:
                self.problems.spend(self.standing, self.host, thread_seconds() - started)


def _budgets(standing: Standing, host: str) -> Iterator[_Budget]:
    kind = standing if standing is Standing.KNOWN else Standing.NEWCOMER
    yield kind, "", RATES[kind]
    yield kind, f"address {host}", ADDRESS_SHARE * RATES[kind]
    yield kind, f"subnet {subnet_of(host)}", SUBNET_SHARE * RATES[kind]


def _full(budget: _Budget) -> float:
    return BURST * budget[2]
