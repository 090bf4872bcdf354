"""Counter-based noise: what a node of a tree draws depends on the tree's seed and the node's place alone.

So any path can be replayed by itself, and neither the company of other trees nor the size of a batch changes a result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from policies.seeds import derive_seed


def node_noise(seeds: Sequence[int], depth: int, nodes: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal (len(seeds), len(nodes), *shape), float32 on the CPU, whatever the device of the network."""
    return _drawn("node", seeds, depth, nodes, shape)


def edge_noise(
    seeds: Sequence[int],
    depth: int,
    nodes: Sequence[int],
    siblings: int,
    scale: float,
    shape: tuple[int, ...],
) -> Tensor:
    """Noise of the edges into `nodes` of `depth`, as `node_noise`, where every parent has `siblings` children.

    BranchGRPO's split (arXiv 2509.06040, eq. 2): xi_b = (xi_0 + scale * e_b) / sqrt(1 + scale^2), with xi_0 common to
    siblings. Each is standard normal; those of two siblings have covariance 1 / (1 + scale^2).
    """
    own = _drawn("node", seeds, depth, nodes, shape)
    if siblings == 1:
        return own
    parents = [node // siblings for node in nodes]
    distinct = sorted(set(parents))
    common = _drawn("siblings", seeds, depth, distinct, shape)[:, [distinct.index(p) for p in parents]]
    return (common + scale * own) / math.sqrt(1 + scale**2)


def _drawn(
    purpose: str, seeds: Sequence[int], depth: int, nodes: Sequence[int], shape: tuple[int, ...]
) -> Tensor:
    noise = torch.empty(len(seeds), len(nodes), *shape)
    generator = torch.Generator()
    for row, seed in enumerate(seeds):
        for column, node in enumerate(nodes):
            generator.manual_seed(derive_seed(seed, purpose, depth, node))
            torch.randn(shape, generator=generator, out=noise[row, column])
    return noise
