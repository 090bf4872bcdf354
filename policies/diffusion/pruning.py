"""Masks of the tree edges that are trained (arXiv 2509.06040, sec. 3.4); pruned ones are sampled all the same."""

from __future__ import annotations

import torch
from torch import Tensor

from policies.diffusion.denoiser import Schedule
from policies.diffusion.settings import TreeSettings
from policies.diffusion.step_plan import StepPlan, step_plan
from policies.diffusion.tree_rollout import TreeRollouts
from policies.diffusion.tree_shape import TreeShape
from policies.diffusion.window import window_at
from policies.policy import PolicyError


def kept_edges(
    settings: TreeSettings, trees: TreeRollouts, rewards: Tensor, present: Tensor, updates: int
) -> list[Tensor]:
    """One mask (P, n_(i+1)) a step: the edge has a density, its step is not pruned, and a leaf below it is present.

    Below the last split, where a chain leads to one leaf, that leaf must be among those that width pruning keeps.
    `rewards` and `present` (P, leaves); `updates` moves the window of pruned steps.
    """
    shape, dropped = trees.shape, pruned_steps(settings, updates, trees.shape.steps)
    masks = []
    leaves = kept_leaves(settings, trees, rewards)
    last_split = max((step for step, width in enumerate(shape.widths) if width > 1), default=-1)
    for step in range(shape.steps):
        trained = trees.log_probs[step] is not None and step not in dropped
        below = leaves & present if step > last_split else present
        masks.append(below.view(len(below), shape.sizes[step + 1], -1).any(2) & trained)
    return masks


def pruned_steps(settings: TreeSettings, updates: int, steps: int) -> set[int]:
    """The steps of a roll-out of `steps` that are not trained after `updates` updates."""
    return set(window_at(settings.pruned, updates, steps)) if settings.pruned else set()


def require_trained_step(settings: TreeSettings, schedule: Schedule) -> None:
    """Raises PolicyError where the windows leave no step to train: neither at the start nor wherever they move to.

    Without a trained step there is no update, and without updates no window moves on: training would end in silence.
    """
    if settings.splits and (last := max(settings.splits)) >= schedule.steps - 1:
        raise PolicyError(
            f"a split at step {last} of {schedule.steps}: it must come before the last step, which is without noise; "
            "set policy.tree.splits to earlier steps, or take more steps"
        )
    if settings.learn != "reverse":
        return
    for updates in _moves(settings, schedule.steps):
        plan = step_plan(settings, schedule, updates)
        noisy = {number for number, step in enumerate(plan.steps) if step.std > 0}
        pruned = pruned_steps(settings, updates, len(plan.steps))
        if not noisy:
            raise PolicyError(
                f"none of the {schedule.steps} denoising steps is noisy after {updates} updates, and only noisy steps "
                'train: set policy.tree.noisy or splits to steps before the last, or policy.tree.learn to "forward"'
            )
        if noisy <= pruned:
            raise PolicyError(
                f"policy.tree.pruned covers every noisy step, {sorted(noisy)}, after {updates} updates: nothing "
                "would be trained; make it smaller, or leave it out"
            )


def require_siblings(settings: TreeSettings, shape: TreeShape, plan: StepPlan, updates: int) -> None:
    """Raises PolicyError where the leaves of a tree are never compared: all steps with several nodes are pruned."""
    pruned = pruned_steps(settings, updates, shape.steps)
    several = [n for n, step in enumerate(plan.steps) if step.std > 0 and shape.sizes[n + 1] > 1]
    if shape.leaves > 1 and pruned.issuperset(several):
        raise PolicyError(
            f"a group of {shape.leaves} rollouts is one image until step {min(several, default=0)}, and policy.tree."
            f"pruned covers every step from there on that is noisy, {several}: make it smaller, or split earlier"
        )


def _moves(settings: TreeSettings, steps: int) -> list[int]:
    """Every number of updates at which a window moves, until none moves any more."""
    windows = [window for window in (settings.noisy, settings.pruned) if window and window.every]
    return sorted({0} | {window.every * move for window in windows for move in range(steps + 2)})


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
