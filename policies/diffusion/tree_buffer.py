"""The trees that wait for their update, and how a batch of groups finds its leaves again.

A rollout's image is its name. Trees that are gone (after a resume, or pushed out by newer ones) are no error: their
images can still be learnt from as finished images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from policies.diffusion.tree_rollout import TreeRollouts
from policies.rollout import Image, Problem, TrainGroup


@dataclass(frozen=True, slots=True)
class MatchedTrees:
    """Trees of which leaves are in a batch."""

    trees: TreeRollouts
    version: int  # of the policy that grew them
    worth: (
        Tensor  # (P, leaves): what the strategy makes of each leaf; absent ones are worth their tree's mean
    )
    present: Tensor  # (P, leaves), bool


@dataclass(slots=True)
class _Planted:
    trees: TreeRollouts
    version: int
    places: dict[tuple[Problem, Image], list[tuple[int, int]]]  # tree and leaf of each image

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        tensors = [*self.trees.latents, *self.trees.log_probs, self.trees.leaves]
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


class TreeBuffer:
    """Keeps trees up to a budget of memory, the newest first."""

    def __init__(self, budget: int) -> None:
        self._budget = budget  # bytes
        self._planted: deque[_Planted] = deque()

    def __len__(self) -> int:
        """Trees."""
        return sum(len(planted.trees.prompts) for planted in self._planted)

    def plant(
        self,
        trees: TreeRollouts,
        version: int,
        problems: Sequence[Problem],
        images: Sequence[Sequence[Image]],
    ) -> None:
        """Keeps the trees of `problems`, one each, with the images of their leaves."""
        places: dict[tuple[Problem, Image], list[tuple[int, int]]] = {}
        for tree, (problem, leaves) in enumerate(zip(problems, images, strict=True)):
            for leaf, image in enumerate(leaves):
                places.setdefault((problem, image), []).append((tree, leaf))
        self._planted.append(_Planted(trees, version, places))
        while len(self._planted) > 1 and sum(planted.size for planted in self._planted) > self._budget:
            self._planted.popleft()

    def harvest(self, batch: Sequence[TrainGroup]) -> tuple[list[MatchedTrees], list[set[int]]]:
        """The trees of the batch's rollouts, and for each group the rollouts that were found in one.

        Trees that a rollout was found in are not kept any longer.
        """
        found: list[set[int]] = [set() for _ in batch]
        harvests, left = [], deque[_Planted]()
        for planted in self._planted:
            worth = torch.full((len(planted.trees.prompts), planted.trees.forest.leaves), torch.nan)
            for number, member in enumerate(batch):
                if not member.group.external:
                    _pick(planted, member, found[number], worth)
            present = ~worth.isnan()
            if not present.any():
                left.append(planted)
                continue
            worth = torch.where(present, worth, worth.nanmean(1, keepdim=True)).nan_to_num()
            harvests.append(MatchedTrees(planted.trees, planted.version, worth, present))
        self._planted = left
        return harvests, found


def _pick(planted: _Planted, member: TrainGroup, found: set[int], worth: Tensor) -> None:
    """Writes the advantages of the group's rollouts to the places of their leaves."""
    problem = member.group.problem
    for index, (rollout, advantage) in enumerate(zip(member.group.rollouts, member.advantages, strict=True)):
        if rollout.image is None or index in found:
            continue
        free = [place for place in planted.places.get((problem, rollout.image), ()) if worth[place].isnan()]
        if free:
            worth[free[0]] = advantage
            found.add(index)
