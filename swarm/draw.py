"""Which of the pool's groups an update takes: pure functions of what waits, one for each value of `sampler.draw`."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from policies.rollout import Group
from swarm.standing import Rates

LEAST_WORTH = 0.02  # a group that promises less leaves its place empty


@dataclass(frozen=True, slots=True)
class Waiting:
    """One group of the pool, as a draw sees it."""

    peer: str
    group: Group
    created: float  # Unix seconds of its announcement


# At most `count` different positions in what waits.
Choose = Callable[[Sequence[Waiting], int, np.random.Generator], list[int]]


def by_peer(waiting: Sequence[Waiting], count: int, generator: np.random.Generator) -> list[int]:
    """Uniform over peers: they come in random order, and none gives a second group before each has given one."""
    theirs: dict[str, list[int]] = defaultdict(list)
    for index in generator.permutation(len(waiting)):
        theirs[waiting[index].peer].append(int(index))
    chosen: list[int] = []
    while theirs and len(chosen) < count:
        for peer in generator.permutation(sorted(theirs))[: count - len(chosen)]:
            chosen.append(theirs[str(peer)].pop())
        theirs = {peer: left for peer, left in theirs.items() if left}
    return chosen


def uniform(waiting: Sequence[Waiting], count: int, generator: np.random.Generator) -> list[int]:
    """Uniform over groups, as published (arXiv 2509.08721, sec. 4): who sends more is drawn more."""
    return [int(index) for index in generator.permutation(len(waiting))[:count]]


def fresh(half_life: float) -> Choose:
    """A group's chance halves with every `half_life` (seconds) of its age."""

    def choose(waiting: Sequence[Waiting], count: int, generator: np.random.Generator) -> list[int]:
        newest = max((entry.created for entry in waiting), default=0.0)
        weights = [2.0 ** ((entry.created - newest) / half_life) for entry in waiting]
        return weighted(waiting, weights, count, generator)

    return choose


def by_worth(rates: Rates) -> Choose:
    """A group's chance follows its `worth`; what promises next to nothing is not drawn at all."""

    def choose(waiting: Sequence[Waiting], count: int, generator: np.random.Generator) -> list[int]:
        promised = [worth(entry.group, rates) for entry in waiting]
        return weighted(waiting, [w if w >= LEAST_WORTH else 0.0 for w in promised], count, generator)

    return choose


def worth(group: Group, rates: Rates) -> float:
    """Mean of what the rollouts are better by than the own policy on the task, in [0, 1].

    Low for problems that nobody solved (hopeless) and for tasks that the own policy masters (trivial).
    """
    rate = rates.get(group.problem.task, 0.0)
    return statistics.fmean(max(0.0, reward - rate) for reward in group.rewards)


def weighted(
    waiting: Sequence[Waiting], weights: Sequence[float], count: int, generator: np.random.Generator
) -> list[int]:
    """Draws by weight without replacement, each peer's weights shared out among its groups.

    So a peer that sends more has no more weight. Weights of zero are never drawn.
    """
    sent = Counter(entry.peer for entry in waiting)
    shared = np.array([w / sent[entry.peer] for w, entry in zip(weights, waiting, strict=True)])
    places = min(count, int(np.count_nonzero(shared)))
    if not places:
        return []
    drawn = generator.choice(len(waiting), size=places, replace=False, p=shared / shared.sum())
    return [int(index) for index in drawn]
