"""The buffer of sampled trees that wait for their update; a batch's rollouts are matched to leaves by their images.

Trees that are gone (after a resume, or pushed out by newer ones) are no error: their images can still be learnt from
as finished images.
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
    version: int  # of the policy that sampled them
    # (P, leaves): the strategy's advantage of each leaf; absent leaves have the mean of their tree's others
    rewards: Tensor
    present: Tensor  # (P, leaves), bool


@dataclass(slots=True)
class _Entry:
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
        self._entries: deque[_Entry] = deque()

    def __len__(self) -> int:
        """Trees."""
        return sum(len(entry.trees.prompts) for entry in self._entries)

    def add(
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
        self._entries.append(_Entry(trees, version, places))
        while len(self._entries) > 1 and sum(entry.size for entry in self._entries) > self._budget:
            self._entries.popleft()

    def match(self, batch: Sequence[TrainGroup]) -> tuple[list[MatchedTrees], list[set[int]]]:
        """The trees of the batch's own rollouts, and for each group the rollouts that were found in one.

        Trees that a rollout was found in are not kept any longer.
        """
        found: list[set[int]] = [set() for _ in batch]
        matched, left = [], deque[_Entry]()
        for entry in self._entries:
            rewards = torch.full((len(entry.trees.prompts), entry.trees.shape.leaves), torch.nan)
            for number, member in enumerate(batch):
                if not member.group.external:
                    _match_leaves(entry, member, found[number], rewards)
            present = ~rewards.isnan()
            if not present.any():
                left.append(entry)
                continue
            rewards = torch.where(present, rewards, rewards.nanmean(1, keepdim=True)).nan_to_num()
            matched.append(MatchedTrees(entry.trees, entry.version, rewards, present))
        self._entries = left
        return matched, found


def _match_leaves(entry: _Entry, member: TrainGroup, found: set[int], rewards: Tensor) -> None:
    """Writes the advantages of the group's rollouts to the places of their leaves."""
    problem = member.group.problem
    for index, (rollout, advantage) in enumerate(zip(member.group.rollouts, member.advantages, strict=True)):
        if rollout.image is None or index in found:
            continue
        free = [place for place in entry.places.get((problem, rollout.image), ()) if rewards[place].isnan()]
        if free:
            rewards[free[0]] = advantage
            found.add(index)
