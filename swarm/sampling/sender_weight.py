"""Fair shares: an external group weighs no more in an update than an own one, whatever its sender put into it.

SAPO's loss sums over tokens (arXiv 2509.08721, sec. 4), so a group of 1,024 rollouts would own an update beside
groups of 8. A group's mass is the sum of |advantage| x trained tokens over its rollouts. Two steps bound it:

1. `fair_size` cuts a group to as many rollouts as an own one has, before it is pooled: memory and compute are
   bounded as well, not the gradient alone.
2. `fair_weights` scales advantages down, so that with g groups of a peer in an update

       mass(peer) <= g x mean mass of the own groups

   and each of them weighs at most that mean. Where no own group has any mass, the peers are held to each other:
   none weighs more than the median peer, group for group.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from policies.rollout import Group, TrainGroup


def fair_size(group: Group, size: int, generator: np.random.Generator) -> Group:
    """The scored group cut to `size` rollouts, whose rewards are spread as those of all; smaller ones are kept.

    The best and the worst stay: a group of unequal rewards keeps something to learn from. Raises ValueError for a
    `size` below 2.
    """
    if size < 2:
        raise ValueError(f"a group of {size} leaves nothing to compare")
    if len(group.rollouts) <= size:
        return group
    rewards = np.asarray(group.rewards)
    # Ties stand in random order, so that where a rollout stands in its group says nothing about its place here.
    ranked = np.lexsort((generator.random(len(rewards)), rewards))
    inner = np.linspace(0, len(ranked) - 1, size)
    kept = sorted(int(ranked[round(place)]) for place in inner)
    return replace(group, rollouts=tuple(group.rollouts[index] for index in kept))


def mass(member: TrainGroup) -> float:
    """Sum of |advantage| x tokens. An image has no tokens: it counts as one."""
    pairs = zip(member.advantages, member.group.rollouts, strict=True)
    return sum(abs(advantage) * (len(rollout.token_ids) or 1) for advantage, rollout in pairs)


def fair_weights(batch: Sequence[TrainGroup]) -> list[TrainGroup]:
    """The batch in its order, external advantages scaled down to the bounds above; own ones as they are.

    A group whose mass is not finite weighs nothing.
    """
    own = [m for member in batch if not member.group.external and 0.0 < (m := mass(member)) < float("inf")]
    bound = statistics.fmean(own) if own else _median_of_peers(batch)
    return [_at_most(member, bound) if member.group.external else member for member in batch]


def _at_most(member: TrainGroup, bound: float) -> TrainGroup:
    weight = mass(member)
    if weight <= bound:
        return member
    scale = bound / weight if weight < float("inf") else 0.0
    return replace(member, advantages=tuple(scale * a if scale else 0.0 for a in member.advantages))


def _median_of_peers(batch: Sequence[TrainGroup]) -> float:
    """The lower median over peers of the mean mass of their groups; 0 without any."""
    of_peer: dict[str, list[float]] = defaultdict(list)
    for member in batch:
        weight = mass(member)
        if member.group.origin is not None and 0.0 < weight < float("inf"):
            of_peer[member.group.origin].append(weight)
    return statistics.median_low(map(statistics.fmean, of_peer.values())) if of_peer else 0.0
