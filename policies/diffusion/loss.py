"""The clipped loss of a tree (arXiv 2509.06040, eq. 5), one depth in memory at a time, siblings sharing a parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from policies.diffusion.denoiser import Denoiser, device_of
from policies.diffusion.step import entropy, log_prob
from policies.diffusion.tree_rollout import TreeRollouts


@dataclass(slots=True)
class Tally:
    """What was accumulated so far."""

    loss: float = 0.0
    edges: int = 0
    clipped: int = 0  # edges whose ratio lay outside the clip range
    entropy: float = 0.0  # nats a dimension, summed over edges
    evaluations: int = 0  # rows with gradients
    micro_batches: int = 0

    def add(self, other: Tally) -> None:
        self.loss += other.loss
        self.edges += other.edges
        self.clipped += other.clipped
        self.entropy += other.entropy
        self.evaluations += other.evaluations
        self.micro_batches += other.micro_batches


@dataclass(frozen=True, slots=True)
class LossRule:
    """How edges are weighed against each other, and how far a ratio pulls."""

    low: float  # ratios below 1 - low, and above 1 + high, stop pulling
    high: float
    by_depth: bool  # all trained steps weigh the same; otherwise all edges do, as published
    rows: int  # latents an evaluation at most

    def weight(self, steps: int, edges: int, edges_in_step: int) -> float:
        """Of one edge, so that the weights of all edges add up to 1."""
        return 1 / (steps * edges_in_step) if self.by_depth else 1 / edges


@dataclass(frozen=True, slots=True)
class TreeLoss:
    """Trees, the advantages of their edges, and the edges that are trained: one tensor (P, n_(i+1)) a step each."""

    trees: TreeRollouts
    advantages: Sequence[Tensor]
    kept: Sequence[Tensor]
    against_own: bool = False  # ratios against the policy as it is, not as it was at the roll-out

    @property
    def edges(self) -> int:
        return sum(int(mask.sum()) for mask in self.kept)

    @property
    def zero_advantage(self) -> bool:
        """No trained edge has an advantage: the gradient is zero."""
        return not any((a.bool() & mask).any() for a, mask in zip(self.advantages, self.kept, strict=True))

    def accumulate(self, denoiser: Denoiser, rule: LossRule, scale: float) -> Tally:
        """Adds the gradient of `scale` times the loss to the network's parameters."""
        tally = Tally()
        live = [step for step, mask in enumerate(self.kept) if mask.any()]
        for step in live:
            weight = scale * rule.weight(len(live), self.edges, int(self.kept[step].sum()))
            width = self.trees.shape.widths[step]
            parents = self.kept[step].view(-1, width).any(1).nonzero()[:, 0]
            for first in range(0, len(parents), rule.rows):
                chunk = parents[first : first + rule.rows]
                self._add(denoiser, rule, step, chunk, weight, tally)
        return tally

    def _add(
        self, denoiser: Denoiser, rule: LossRule, step: int, parents: Tensor, weight: float, tally: Tally
    ) -> None:
        """One micro-batch: `parents` are flat places over trees and nodes of the depth that `step` starts from."""
        trees, width, taken = self.trees, self.trees.shape.widths[step], self.trees.plan.steps[step]
        before, after, old = trees.latents[step], trees.latents[step + 1], trees.log_probs[step]
        assert before is not None and after is not None and old is not None
        device = device_of(denoiser)
        nodes = trees.shape.sizes[step]
        prompts = [trees.prompts[parent // nodes] for parent in parents.tolist()]
        latents = before.flatten(0, 1)[parents].to(device)
        mean = taken.mean(denoiser.predict(latents, trees.plan.points[step], prompts))

        children = (parents[:, None] * width + torch.arange(width)).flatten()
        trained = self.kept[step].flatten()[children]
        children, owners = children[trained], torch.arange(len(parents)).repeat_interleave(width)[trained]
        new = log_prob(after.flatten(0, 1)[children].to(device), mean[owners.to(device)], taken.std)
        ratio = torch.exp(new - (new.detach() if self.against_own else old.flatten()[children].to(device)))
        advantage = self.advantages[step].flatten()[children].to(device)
        bounded = ratio.clamp(1 - rule.low, 1 + rule.high)
        loss = -torch.minimum(ratio * advantage, bounded * advantage).sum() * weight
        loss.backward()  # type: ignore[no-untyped-call]

        tally.loss += loss.item()
        tally.edges += len(children)
        tally.clipped += int((ratio != bounded).sum())
        tally.entropy += entropy(taken.std) * len(children)
        tally.evaluations += len(parents)
        tally.micro_batches += 1
