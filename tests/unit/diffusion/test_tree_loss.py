"""Fusion, advantages, pruning and the tree's gradient, against brute force one edge at a time."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from small_denoiser import SmallDenoiser
from torch import Tensor

from policies.diffusion.fusion import depth_advantages, fuse
from policies.diffusion.loss import LossRule, Tally, TreeLoss
from policies.diffusion.pruning import kept_edges
from policies.diffusion.settings import TreeSettings, WindowSettings
from policies.diffusion.step import entropy, log_prob
from policies.diffusion.step_plan import step_plan
from policies.diffusion.tree_rollout import TreeRollouts, rollout_trees
from policies.diffusion.tree_shape import TreeShape

PROMPTS = ("the digit 1", "the digit 7")
TREE = TreeSettings(splits={0: 2, 2: 2, 4: 2}, noisy=None)
SECOND = WindowSettings(first=1, size=1)
CASES = {
    "sequential": (TreeSettings(splits={0: 4}, noisy=None), 4),
    "tree": (TREE, 8),
    "two roots": (TREE, 16),
    "pruned": (TREE.model_copy(update={"width": "extreme", "extremes": 2, "pruned": SECOND}), 8),
    "top1": (TREE.model_copy(update={"width": "parent_top1"}), 8),
    "mix": (TreeSettings(splits={0: 2, 3: 3}, noisy=WindowSettings(first=5, size=1)), 6),
}  # fmt: skip


def grown(settings: TreeSettings, leaves: int, denoiser: SmallDenoiser) -> TreeRollouts:
    chosen = step_plan(settings, denoiser.schedule, 0)
    return rollout_trees(
        denoiser, TreeShape.of(settings.splits, leaves, len(chosen.steps)), chosen, PROMPTS, (3, 4), 1000
    )


def drawn(leaves: int, seed: int = 0) -> Tensor:
    return torch.randn(len(PROMPTS), leaves, generator=torch.Generator().manual_seed(seed))


def tree_loss(settings: TreeSettings, trees: TreeRollouts, rewards: Tensor) -> TreeLoss:
    everything = torch.ones_like(rewards, dtype=torch.bool)
    values = fuse(trees.shape, rewards)
    kept = kept_edges(settings, trees, rewards, everything, 0)
    return TreeLoss(trees, depth_advantages(values, "depth", 5.0), kept)


def disturb(denoiser: SmallDenoiser, size: float) -> None:
    """Moves off the policy that sampled, so that ratios leave the clip range on some edges."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in denoiser.module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def gradient(denoiser: SmallDenoiser) -> Tensor:
    parts = [p.grad.flatten() for p in denoiser.module.parameters() if p.grad is not None]
    denoiser.module.zero_grad()
    return torch.cat(parts)


def brute_force(denoiser: SmallDenoiser, loss: TreeLoss, rule: LossRule) -> tuple[float, int]:
    """One edge and one evaluation at a time; returns the loss and how many edges were clipped."""
    trees, shape = loss.trees, loss.trees.shape
    live = [step for step in range(shape.steps) if loss.kept[step].any()]
    edges = sum(int(mask.sum()) for mask in loss.kept)
    total, clipped = torch.zeros(()), 0
    for step in live:
        in_step = int(loss.kept[step].sum())
        weight = 1 / (len(live) * in_step) if rule.by_depth else 1 / edges
        before, after, old = trees.latents[step], trees.latents[step + 1], trees.log_probs[step]
        assert before is not None and after is not None and old is not None
        for tree, prompt in enumerate(trees.prompts):
            for child in range(shape.sizes[step + 1]):
                if not loss.kept[step][tree, child]:
                    continue
                latents = before[tree, child // shape.widths[step]][None]
                mean = trees.plan.steps[step].mean(
                    denoiser.predict(latents, trees.plan.points[step], [prompt])
                )
                new = log_prob(after[tree, child][None], mean, trees.plan.steps[step].std)[0]
                ratio = torch.exp(new - old[tree, child])
                advantage = loss.advantages[step][tree, child]
                bounded = ratio.clamp(1 - rule.low, 1 + rule.high)
                total = total - weight * torch.minimum(ratio * advantage, bounded * advantage)
                clipped += int(bounded != ratio)
    total.backward()
    return total.item(), clipped


CLIPS = [(1e-3, 1e-3), (2e-4, 2e-2), (2e-2, 2e-4)]


@pytest.mark.parametrize("clip", CLIPS, ids=["even", "tight below", "tight above"])
@pytest.mark.parametrize("by_depth", [True, False], ids=["depths", "edges"])
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_one_edge_at_a_time(
    name: str, by_depth: bool, clip: tuple[float, float]
) -> None:
    settings, leaves = CASES[name]
    denoiser = SmallDenoiser()
    loss = tree_loss(settings, grown(settings, leaves, denoiser), drawn(leaves))
    disturb(denoiser, 0.01)
    rule = LossRule(*clip, by_depth, rows=5)
    tally = loss.accumulate(denoiser, rule, 1.0)
    ours = gradient(denoiser)
    wanted_loss, clipped = brute_force(denoiser, loss, rule)
    wanted = gradient(denoiser)
    torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=1e-4)
    assert tally.loss == pytest.approx(wanted_loss, abs=1e-6)
    assert 0 < tally.clipped == clipped < tally.edges == loss.edges


def pulls(ratio: float, advantage: float, rule: LossRule) -> bool:
    """Whether the weights are pulled on where every edge of a tree has this ratio and advantage."""
    denoiser = SmallDenoiser()
    trees = grown(TREE, 8, denoiser)
    old = tuple(None if log is None else log - math.log(ratio) for log in trees.log_probs)
    kept = kept_edges(TREE, trees, drawn(8), torch.ones(2, 8, dtype=torch.bool), 0)
    advantages = [torch.full(mask.shape, advantage) for mask in kept]
    TreeLoss(replace(trees, log_probs=old), advantages, kept).accumulate(denoiser, rule, 1.0)
    return bool((gradient(denoiser) != 0).any())


@pytest.mark.parametrize(
    ("ratio", "advantage", "pulled"),
    [
        (0.85, 1.0, True),
        (0.85, -1.0, False),  # below 1 - low: pushed down far enough
        (0.95, -1.0, True),
        (1.2, 1.0, True),
        (1.2, -1.0, True),
        (1.4, 1.0, False),  # above 1 + high: pulled up far enough
        (1.4, -1.0, True),
    ],
)
def test_each_bound_of_the_clip_holds_on_its_own_side(ratio: float, advantage: float, pulled: bool) -> None:
    assert pulls(ratio, advantage, LossRule(0.1, 0.3, True, rows=100)) is pulled


def test_parents_are_evaluated_once_for_all_their_children() -> None:
    denoiser = SmallDenoiser()
    loss = tree_loss(TREE, grown(TREE, 8, denoiser), drawn(8))
    tally = loss.accumulate(denoiser, LossRule(1e-3, 1e-3, True, rows=1000), 1.0)
    live = [step for step, mask in enumerate(loss.kept) if mask.any()]
    assert tally.evaluations == denoiser.rows[True] == 2 * sum(loss.trees.shape.sizes[:7]) < loss.edges
    assert tally.micro_batches == len(live)
    noise = sum(entropy(loss.trees.plan.steps[step].std) * int(loss.kept[step].sum()) for step in live)
    assert tally.entropy == pytest.approx(noise) and noise != 0.0


def test_tallies_add_up_figure_by_figure() -> None:
    total = Tally()
    for part in (Tally(0.5, 1, 2, 3.0, 4, 5), Tally(0.25, 10, 20, 30.0, 40, 50)):
        total.add(part)
    assert total == Tally(0.75, 11, 22, 33.0, 44, 55)


def test_edges_without_an_advantage_count_as_none_only_where_they_are_trained() -> None:
    loss = tree_loss(TREE, grown(TREE, 8, SmallDenoiser()), drawn(8))
    one = [torch.zeros_like(advantage) for advantage in loss.advantages]
    assert replace(loss, advantages=one).zero_advantage
    step = next(step for step, mask in enumerate(loss.kept) if mask.any())
    place = tuple(loss.kept[step].nonzero()[0].tolist())
    one[step][place] = 0.5
    assert not replace(loss, advantages=one).zero_advantage
    nowhere = [torch.zeros_like(mask) for mask in loss.kept]
    assert replace(loss, kept=nowhere).zero_advantage


@pytest.mark.parametrize("name", CASES)
def test_ratios_are_one_at_unchanged_weights(name: str) -> None:
    settings, leaves = CASES[name]
    denoiser = SmallDenoiser()
    loss = tree_loss(settings, grown(settings, leaves, denoiser), drawn(leaves))
    tally = loss.accumulate(denoiser, LossRule(1e-5, 1e-5, True, rows=7), 1.0)
    assert tally.clipped == 0


def test_ratios_would_not_be_one_if_latents_were_kept_in_bfloat16() -> None:
    denoiser = SmallDenoiser()
    trees = grown(TREE, 8, denoiser)
    coarse = tuple(None if part is None else part.bfloat16().float() for part in trees.latents)
    loss = tree_loss(TREE, replace(trees, latents=coarse), drawn(8))
    assert loss.accumulate(denoiser, LossRule(1e-5, 1e-5, True, rows=1000), 1.0).clipped > 0


def test_a_stale_tree_may_be_trained_against_the_policy_as_it_is() -> None:
    denoiser = SmallDenoiser()
    loss = tree_loss(TREE, grown(TREE, 8, denoiser), drawn(8))
    disturb(denoiser, 0.01)
    assert loss.accumulate(denoiser, LossRule(1e-3, 1e-3, True, 1000), 1.0).clipped > 0
    assert (
        replace(loss, against_own=True).accumulate(denoiser, LossRule(1e-3, 1e-3, True, 1000), 1.0).clipped
        == 0
    )


def test_without_beta_a_node_is_worth_the_mean_of_its_leaves() -> None:
    shape, rewards = TreeShape.of({0: 2, 2: 2, 4: 2}, 16, 8), drawn(16)
    equal: list[Tensor | None] = [torch.zeros(2, size) for size in shape.sizes[1:]]
    for values in (fuse(shape, rewards), fuse(shape, rewards, equal, beta=1.0, dimensions=64)):
        for depth, value in enumerate(values):
            wanted = [
                [
                    torch.stack(
                        [row[leaf] for leaf in range(16) if shape.ancestor(leaf, depth) == node]
                    ).mean()
                    for node in range(shape.sizes[depth])
                ]
                for row in rewards
            ]
            torch.testing.assert_close(value, torch.tensor(wanted))


def test_with_beta_leaves_count_by_the_density_of_their_path() -> None:
    denoiser = SmallDenoiser()
    trees, rewards = grown(TREE, 8, denoiser), drawn(8)
    shape, beta, dimensions = trees.shape, 0.05, 64
    values = fuse(shape, rewards, trees.log_probs, beta=beta, dimensions=dimensions)
    for depth in range(shape.steps + 1):
        for node in range(shape.sizes[depth]):
            leaves = [leaf for leaf in range(8) if shape.ancestor(leaf, depth) == node]
            paths = torch.zeros(len(leaves))
            for step in range(depth, shape.steps):
                if (edge := trees.log_probs[step]) is not None:
                    paths += torch.stack([edge[1, shape.ancestor(leaf, step + 1)] for leaf in leaves])
            weights = torch.softmax(beta * dimensions * paths, 0)
            torch.testing.assert_close(
                values[depth][1, node], (weights * rewards[1, leaves]).sum(), atol=1e-4, rtol=1e-4
            )


def test_advantages_are_standardised_depth_by_depth() -> None:
    shape = TreeShape.of({0: 2, 2: 2, 4: 2}, 8, 8)
    advantages = depth_advantages(fuse(shape, 100 * drawn(8)), "depth", 5.0)
    for advantage in advantages:
        torch.testing.assert_close(advantage.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(advantage.std(1), torch.ones(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(advantages[0].abs(), torch.full((2, 2), 0.5**0.5), atol=1e-3, rtol=0)
    scaled = depth_advantages(fuse(shape, 100 * drawn(8)), "leaves", 5.0)
    assert not torch.allclose(scaled[0].abs(), torch.full((2, 2), 0.5**0.5), atol=1e-2)
    torch.testing.assert_close(scaled[-1], advantages[-1])
    cut = depth_advantages(fuse(shape, 100 * drawn(8)), "depth", 0.3)
    assert max(float(advantage.abs().max()) for advantage in cut) == pytest.approx(0.3)


@pytest.mark.parametrize("scale", ["depth", "leaves"])
def test_equal_rewards_and_shared_prefixes_have_no_pull(scale: str) -> None:
    shape = TreeShape.of({3: 4}, 4, 6)
    advantages = depth_advantages(fuse(shape, drawn(4)), scale, 5.0)
    assert all((advantage == 0).all() for advantage in advantages[:3])


@pytest.mark.parametrize("scale", ["depth", "leaves"])
@pytest.mark.parametrize("reward", [0.1, 0.3, 1 / 3, 0.7, 1.0, -123.4])
def test_leaves_of_equal_rewards_have_no_advantage_at_any_depth(scale: str, reward: float) -> None:
    shape = TreeShape.of({0: 3, 2: 5, 3: 7}, 105, 6)
    rewards = torch.full((2, 105), reward)
    rewards[1, 0] += 1.0  # of the other tree
    paths: list[Tensor | None] = [torch.linspace(-2, -1, 2 * size).view(2, size) for size in shape.sizes[1:]]
    for values in (fuse(shape, rewards), fuse(shape, rewards, paths, beta=0.1, dimensions=64)):
        advantages = depth_advantages(values, scale, 5.0)
        assert all((advantage[0] == 0).all() for advantage in advantages)
        assert all((advantage[1] != 0).any() for advantage in advantages)


def test_one_split_at_the_start_gives_every_step_the_groups_own_advantage() -> None:
    rewards = drawn(4)
    wanted = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    for advantage in depth_advantages(fuse(TreeShape.of({0: 4}, 4, 6), rewards), "depth", 5.0):
        torch.testing.assert_close(advantage, wanted)


def test_pruning_leaves_the_roll_out_bit_for_bit() -> None:
    plain, pruned = (grown(CASES[name][0], 8, SmallDenoiser()) for name in ("tree", "pruned"))
    for ours, others in ((plain.latents, pruned.latents), (plain.log_probs, pruned.log_probs)):
        for a, b in zip(ours, others, strict=True):
            assert (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))
    assert torch.equal(plain.leaves, pruned.leaves)


def test_what_pruning_keeps() -> None:
    trees = grown(TREE, 8, SmallDenoiser())
    rewards = torch.tensor([[1.0, 2, 6, 5, 4, 3, 7, 8], [8.0, 7, 6, 5, 4, 3, 2, 1]])
    everything = torch.ones_like(rewards, dtype=torch.bool)

    def kept(present: Tensor = everything, updates: int = 0, **changes: object) -> list[Tensor]:
        return kept_edges(TREE.model_copy(update=changes), trees, rewards, present, updates)

    assert [int(mask.sum()) for mask in kept()] == [4, 4, 8, 8, 16, 16, 16, 0]  # the last step has no noise
    top = kept(width="parent_top1")
    assert top[5][0].tolist() == [False, True, True, False, True, False, False, True]
    assert top[4].all() and top[0].all()
    extreme = kept(width="extreme", extremes=1)
    assert [row.nonzero()[:, 0].tolist() for row in extreme[6]] == [[0, 7], [0, 7]]
    window = {"pruned": WindowSettings(first=5, size=2, every=3, stride=-1, last=2)}
    assert [step for step, mask in enumerate(kept(**window)) if not mask.any()] == [5, 6, 7]
    assert [step for step, mask in enumerate(kept(updates=7, **window)) if not mask.any()] == [3, 4, 7]
    absent = everything.clone()
    absent[0, :2] = False
    assert not kept(absent)[5][0, :2].any() and not kept(absent)[2][0, 0] and kept(absent)[0][0].all()


def test_growing_and_learning_leave_the_networks_state_alone() -> None:
    denoiser = SmallDenoiser()
    before = deepcopy(denoiser.module.state_dict())
    tree_loss(TREE, grown(TREE, 8, denoiser), drawn(8)).accumulate(denoiser, LossRule(1, 1, True, 9), 1.0)
    for name, value in denoiser.module.state_dict().items():
        assert torch.equal(value, before[name])
