"""Advantages of tree edges from the rewards of the leaves below them (arXiv 2509.06040, eq. 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from policies.advantage import STD_EPSILON
from policies.diffusion.tree_shape import TreeShape

# Means of equal float32 values differ by about this share of them.
ROUNDING = 1e-6


def fuse(
    shape: TreeShape,
    rewards: Tensor,
    log_probs: Sequence[Tensor | None] | None = None,
    *,
    beta: float = 0.0,
    dimensions: int = 1,
) -> list[Tensor]:
    """Values of all nodes, depth by depth (P, n_d), from the rewards of the leaves (P, leaves).

    The value of a node is the mean of the leaves below it, weighted by exp(beta * log p(leaf | node)), where p is the
    density of the path: `log_probs` of its edges, None for deterministic ones, times `dimensions` as they are averages.
    Leaves are drawn from p already, so beta = 0 is the unbiased choice; beta = 1 counts p twice.
    """
    values = [rewards]
    path = torch.zeros_like(rewards)  # of each leaf, from the node that is being valued
    for step in reversed(range(shape.steps)):
        children = shape.sizes[step + 1]
        edges = None if log_probs is None else log_probs[step]
        if edges is not None:
            path = path + dimensions * edges.repeat_interleave(shape.leaves // children, 1)
        families = (len(rewards), shape.sizes[step], -1)
        weights = torch.softmax(beta * path.view(families), 2)
        values.append((weights * rewards.view(families)).sum(2))
    return values[::-1]


def depth_advantages(values: Sequence[Tensor], scale: str, most: float) -> list[Tensor]:
    """The advantage of every edge, step by step (P, n_(i+1)): its child's value, centred among those of its depth.

    `scale` divides by the standard deviation of the depth ("depth", as published: two nodes always give -+0.71,
    whatever the gap) or of the leaves ("leaves"). Of one node, and where all values of a depth or all leaves of a tree
    are equal, it is exactly 0. Cut to `most`.
    """
    leaves, alike = _deviation(values[-1]), _equal(values[-1])
    advantages = []
    for value in values[1:]:
        spread = leaves if scale == "leaves" else _deviation(value)
        scaled = (value - value.mean(1, keepdim=True)) / (spread + STD_EPSILON)
        advantages.append(scaled.clamp(-most, most).masked_fill(alike | _equal(value), 0.0))
    return advantages


def _equal(values: Tensor) -> Tensor:
    """Whether a tree's values differ by rounding at most (P, 1)."""
    low, high = values.aminmax(dim=1, keepdim=True)
    return high - low <= ROUNDING * torch.maximum(low.abs(), high.abs())


def _deviation(values: Tensor) -> Tensor:
    """Sample standard deviation of each tree's values (P, 1); 0 for a single one."""
    return values.std(1, keepdim=True) if values.shape[1] > 1 else torch.zeros_like(values)
