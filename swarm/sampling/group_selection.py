"""Group selection: which of the pool's groups an update takes, one pure function for each value of `sampler.draw`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from policies.rollout import Group


@dataclass(frozen=True, slots=True)
class Candidate:
    """One group of the pool, as a draw sees it."""

    peer: str
    group: Group


# At most `count` different positions in what waits.
Select = Callable[[Sequence[Candidate], int, np.random.Generator], list[int]]


def uniform_over_peers(waiting: Sequence[Candidate], count: int, generator: np.random.Generator) -> list[int]:
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


def uniform_over_groups(
    waiting: Sequence[Candidate], count: int, generator: np.random.Generator
) -> list[int]:
    """Uniform over groups, as published (arXiv 2509.08721, sec. 4): who sends more is drawn more."""
    return [int(index) for index in generator.permutation(len(waiting))[:count]]
