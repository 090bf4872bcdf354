"""Masks of the tree edges that are trained (arXiv 2509.06040, sec. 3.4); pruned ones are sampled all the same."""

from __future__ import annotations

import torch
from torch import Tensor

from policies.diffusion.settings import TreeSettings
from policies.diffusion.tree_rollout import TreeRollouts
from policies.diffusion.window import window_at


def kept_edges(
    settings: TreeSettings, trees: TreeRollouts, rewards: Tensor, present: Tensor, updates: int
) -> list[Tensor]:
    """One mask (P, n_(i+1)) a step: the edge has a density, its step is not pruned, and a leaf below it is present.

    Below the last split, where a chain leads to one leaf, that leaf must be among those that width pruning keeps.
    `rewards` and `present` (P, leaves); `updates` moves the window of pruned steps.
    """
    shape = trees.shape
    dropped = set(window_at(settings.pruned, updates, shape.steps)) if settings.pruned else set()
    masks = []
    leaves = kept_leaves(settings, trees, rewards)
    last_split = max((step for step, width in enumerate(shape.widths) if width > 1), default=-1)
    for step in range(shape.steps):
        trained = trees.log_probs[step] is not None and step not in dropped
        below = leaves & present if step > last_split else present
        masks.append(below.view(len(below), shape.sizes[step + 1], -1).any(2) & trained)
    return masks


def kept_leaves(settings: TreeSettings, trees: TreeRollouts, rewards: Tensor) -> Tensor:
    """The leaves whose own chains, below the last split, are trained: a mask (P, leaves).

    `parent_top1` keeps the best child of every node of the last split, `extreme` the best and the worst of the tree.
    """
    everything = torch.ones_like(rewards, dtype=torch.bool)
    if settings.width == "extreme":
        count = min(settings.extremes, rewards.shape[1])
        order = rewards.argsort(1)
        chosen = torch.cat([order[:, :count], order[:, -count:]], 1)
        return torch.zeros_like(everything).scatter_(1, chosen, True)
    splits = [width for width in trees.shape.widths if width > 1]
    if settings.width == "all" or not splits:
        return everything
    families = rewards.view(len(rewards), -1, splits[-1])
    best = families.argmax(2, keepdim=True)
    return torch.zeros_like(families, dtype=torch.bool).scatter_(2, best, True).flatten(1)
