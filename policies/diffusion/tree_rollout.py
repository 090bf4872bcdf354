"""The roll-out of many trees of one shape at once: all nodes of a depth in one batch, each parent evaluated once.

Latents are float32 throughout: from fewer bits, an edge's density under unchanged weights would not come out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from policies.diffusion.denoiser import Denoiser, Prediction, device_of
from policies.diffusion.noise import edge_noise, node_noise
from policies.diffusion.step import log_prob
from policies.diffusion.step_plan import StepPlan
from policies.diffusion.tree_shape import TreeShape


@dataclass(frozen=True, slots=True)
class TreeRollouts:
    """P trees of one shape, one tensor a depth, on the CPU; what no density needs is not kept."""

    shape: TreeShape
    plan: StepPlan
    prompts: tuple[str, ...]  # one a tree
    latents: tuple[Tensor | None, ...]  # depth d: (P, n_d, *latent_shape); None at deterministic steps
    # Step i, of the edges into depth i + 1: (P, n_(i+1)); None: deterministic.
    log_probs: tuple[Tensor | None, ...]
    leaves: Tensor  # (P, n_T, *latent_shape), clean


@torch.no_grad()
def rollout_trees(
    denoiser: Denoiser,
    shape: TreeShape,
    plan: StepPlan,
    prompts: Sequence[str],
    seeds: Sequence[int],
    rows: int,
) -> TreeRollouts:
    """One tree for each of `prompts`, its noise by `seeds`; `rows` latents an evaluation at most."""
    latent_shape, sizes = denoiser.latent_shape, shape.sizes
    device = device_of(denoiser)
    current = node_noise(seeds, 0, range(shape.roots), latent_shape).flatten(0, 1).to(device)
    kept: list[Tensor | None] = [None] * (shape.steps + 1)
    log_probs: list[Tensor | None] = [None] * shape.steps
    for number, (step, width) in enumerate(zip(plan.steps, shape.widths, strict=True)):
        rowwise = [prompt for prompt in prompts for _ in range(sizes[number])]
        prediction = predict_in_chunks(denoiser, current, plan.points[number], rowwise, rows)
        mean = step.mean(prediction).repeat_interleave(width, 0)
        after = mean
        if step.std > 0:
            nodes = range(sizes[number + 1])
            noise = edge_noise(seeds, number + 1, nodes, width, plan.split_scale, latent_shape)
            after = mean + step.std * noise.flatten(0, 1).to(device)
            log_probs[number] = log_prob(after, mean, step.std).view(len(prompts), -1).cpu()
            kept[number] = current.view(len(prompts), sizes[number], *latent_shape).cpu()
            kept[number + 1] = after.view(len(prompts), sizes[number + 1], *latent_shape).cpu()
        current = after
    leaves = current.view(len(prompts), shape.leaves, *latent_shape).cpu()
    return TreeRollouts(shape, plan, tuple(prompts), tuple(kept), tuple(log_probs), leaves)


@torch.no_grad()
def replay(denoiser: Denoiser, shape: TreeShape, plan: StepPlan, prompt: str, seed: int, leaf: int) -> Tensor:
    """One leaf alone (*latent_shape), sampled again along its path: one evaluation a step."""
    latent_shape = denoiser.latent_shape
    device = device_of(denoiser)
    current = node_noise([seed], 0, [shape.ancestor(leaf, 0)], latent_shape)[0].to(device)
    for number, (step, width) in enumerate(zip(plan.steps, shape.widths, strict=True)):
        current = step.mean(denoiser.predict(current, plan.points[number], [prompt]))
        if step.std > 0:
            node = shape.ancestor(leaf, number + 1)
            noise = edge_noise([seed], number + 1, [node], width, plan.split_scale, latent_shape)
            current = current + step.std * noise[0].to(device)
    return current[0].cpu()


def predict_in_chunks(
    denoiser: Denoiser, latents: Tensor, point: int, prompts: Sequence[str], rows: int
) -> Prediction:
    """The prediction for any number of latents, `rows` at a time."""
    parts = [
        denoiser.predict(latents[first : first + rows], point, prompts[first : first + rows])
        for first in range(0, len(latents), rows)
    ]
    clean, noise = zip(*((part.clean, part.noise) for part in parts), strict=True)
    return Prediction(torch.cat(clean), torch.cat(noise))
