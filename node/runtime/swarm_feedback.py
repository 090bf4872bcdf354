"""Statistics of own and external groups that steer the next round: the adaptive split and unsolved problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from policies.rollout import Group
from swarm.admission.verdict import Outcome, Verdict

MEMORY = 8  # groups of a task, or rounds, over which the moving means forget
MAX_UNSOLVED, MAX_UNSOLVED_OF_PEER = 64, 8  # problems that are remembered
_LEAST_RATE = 0.02  # a task that the own policy never solved is taken up now and then too

Rates = Mapping[str, float]  # mean reward of the own policy, by the task's full name; absent: not met yet


@dataclass(frozen=True, slots=True)
class UnsolvedProblem:
    """A problem that nobody solved in a group of `peer`."""

    peer: str
    task: str  # full name
    seed: int


@dataclass(frozen=True, slots=True)
class SwarmFeedback:
    """Plain data, part of the checkpoint."""

    rates: Rates = field(default_factory=dict)  # lately
    # Moving means over rounds of `mean_positive_advantage`, by kind of group. None: not known yet.
    own: float | None = None
    external: float | None = None
    unsolved: tuple[UnsolvedProblem, ...] = ()  # oldest first

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON-able data for the checkpoint."""
        return asdict(self)

    @classmethod
    def restored(cls, data: dict[str, Any] | None) -> SwarmFeedback:
        """What `snapshot` gave, straight or through JSON."""
        if data is None:
            return cls()
        return cls(**{**data, "unsolved": tuple(UnsolvedProblem(**entry) for entry in data["unsolved"])})


def task_reward_ema(rates: Rates, groups: Iterable[Group]) -> dict[str, float]:
    """The rates after further scored own `groups`: a moving mean by task over about MEMORY groups."""
    after = dict(rates)
    for group in groups:
        task = group.problem.task
        after[task] = _moved(after.get(task), group.mean_reward)
    return after


def mean_positive_advantage(groups: Sequence[Group], places: int) -> float:
    """Mean positive advantage of a rollout, over all `places` that the groups were to fill.

    Of right-or-wrong rewards it is p (1 - p): nothing for groups without a signal, and nothing for a place that stayed
    empty. That is what a place gives the update to learn from.
    """
    found = (sum(max(0.0, r - g.mean_reward) for r in g.rewards) / len(g.rewards) for g in groups)
    return sum(found) / places


def updated(
    feedback: SwarmFeedback,
    own: Sequence[Group],
    sampled: Sequence[Group],
    places: int,
    verdicts: Iterable[Verdict],
) -> SwarmFeedback:
    """The feedback after a round: its scored `own` groups, those `sampled` for `places` of peers, and all verdicts."""
    return SwarmFeedback(
        task_reward_ema(feedback.rates, own),
        _moved(feedback.own, mean_positive_advantage(own, len(own))) if own else feedback.own,
        _moved(feedback.external, mean_positive_advantage(sampled, places)) if places else feedback.external,
        _remembered(feedback.unsolved, verdicts, {(g.problem.task, g.problem.seed) for g in own}),
    )


def adaptive_split(local: int, external: int, feedback: SwarmFeedback) -> tuple[int, int]:
    """(I, J) of the next round, I + J as given: places go where they were lately worth most, one at least to each.

    As given until both were seen.
    """
    if not external or feedback.own is None or feedback.external is None:
        return local, external
    total, worth = local + external, feedback.own + feedback.external
    share = feedback.external / worth if worth else external / total
    j = min(max(1, round(total * share)), total - 1)
    return total - j, j


def prioritised(feedback: SwarmFeedback, generator: np.random.Generator) -> list[UnsolvedProblem]:
    """The unsolved problems in random order, those of tasks that the own policy is good at first, as a rule."""
    weights = [max(_LEAST_RATE, feedback.rates.get(u.task, 0.0)) for u in feedback.unsolved]
    keys = [generator.random() ** (1.0 / weight) for weight in weights]  # Efraimidis and Spirakis, 2006
    order = sorted(range(len(keys)), key=lambda place: -keys[place])
    return [feedback.unsolved[place] for place in order]


def _remembered(
    known: Sequence[UnsolvedProblem], verdicts: Iterable[Verdict], done: Set[tuple[str, int]]
) -> tuple[UnsolvedProblem, ...]:
    """The newest that are not `done`, few of each peer: none decides alone what others work on."""
    fresh = [
        UnsolvedProblem(v.peer, v.task, v.seed)
        for v in verdicts
        if v.outcome is Outcome.SET_ASIDE and not v.mean_reward and v.seed is not None
    ]
    kept: dict[tuple[str, int], UnsolvedProblem] = {}
    counts: Counter[str] = Counter()
    for unsolved in reversed([*known, *fresh]):
        problem = (unsolved.task, unsolved.seed)
        room = counts[unsolved.peer] < MAX_UNSOLVED_OF_PEER and len(kept) < MAX_UNSOLVED
        if room and problem not in kept and problem not in done:
            kept[problem] = unsolved
            counts[unsolved.peer] += 1
    return tuple(reversed(kept.values()))


def _moved(mean: float | None, value: float) -> float:
    return value if mean is None else mean + (value - mean) / MEMORY
