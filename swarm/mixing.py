"""Anchored mixing: completions of a peer are judged beside own ones of the same problem, never among themselves."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from policies.advantage import group_relative
from policies.rollout import Group, Rollout, TrainGroup


@dataclass(frozen=True, slots=True)
class Mixed:
    """One problem's scored rollouts, own and of one peer, under one mean.

    The parts stay apart: own rollouts know their behaviour log-probs and age, a peer's know neither.
    """

    own: Group
    external: Group

    @property
    def whole(self) -> Group:
        """All rollouts, own ones first."""
        return Group(self.own.problem, self.own.rollouts + self.external.rollouts)

    def parts(self) -> tuple[TrainGroup, TrainGroup]:
        """Own and external part, advantages relative to the mean of the whole.

        Never over its deviation: with a poisoned share f that raises the push from f(1-f) to sqrt(f(1-f)).
        """
        advantages, own = group_relative(self.whole.rewards), len(self.own.rollouts)
        return TrainGroup(self.own, advantages[:own]), TrainGroup(self.external, advantages[own:])


def mix(own: Group, external: Group, guests: int, generator: np.random.Generator) -> Mixed:
    """The own group and at most `guests` rollouts of the external one, no more than there are own ones.

    Those enter under which the rewards of the whole vary most (as PODS chooses, arXiv 2504.13818): right ones where
    the own are wrong, and the reverse. So there is a signal wherever the external group had one. Which of equally
    rewarded ones is a matter of chance, not of the order in which a peer put them.
    Raises ValueError for groups of two problems, or where an own group is called external.
    """
    if own.problem != external.problem or own.external or not external.external:
        raise ValueError("mixing takes an own and an external group of one problem")
    count = min(guests, len(own.rollouts), len(external.rollouts))
    shuffled = [external.rollouts[index] for index in generator.permutation(len(external.rollouts))]
    ordered = sorted(shuffled, key=_reward)
    # The variance is convex in each reward, so that some of the lowest with the rest from the top attain its maximum.
    choices = [ordered[:low] + ordered[len(ordered) - (count - low) :] for low in range(count + 1)]
    chosen = max(choices, key=lambda few: statistics.pvariance([*own.rewards, *map(_reward, few)]))
    return Mixed(own, Group(external.problem, tuple(chosen), external.origin))


def parted(members: Sequence[TrainGroup], mixed: Sequence[Mixed]) -> list[TrainGroup]:
    """An update's members, the last of which are the wholes of `mixed`, with their parts in place of them."""
    plain = members[: len(members) - len(mixed)]
    return [*plain, *(part for one in mixed for part in one.parts())]


def _reward(rollout: Rollout) -> float:
    if rollout.reward is None:
        raise ValueError("mixing takes scored rollouts")
    return rollout.reward
