"""Tree shapes, their noise, and roll-outs: counts, laws, replay, and equality with the plain sequential group."""

from __future__ import annotations

import pytest
import torch
from small_denoiser import SHAPE, SmallDenoiser

from policies.diffusion.noise import edge_noise, node_noise
from policies.diffusion.settings import PRESETS, TreeSettings, WindowSettings
from policies.diffusion.step import log_prob
from policies.diffusion.step_plan import StepPlan, ode_plan, step_plan
from policies.diffusion.tree_rollout import replay, rollout_trees
from policies.diffusion.tree_shape import TreeShape
from policies.diffusion.window import window_at

PAPER = {0: 2, 3: 2, 6: 2, 9: 2}
SMALL = TreeSettings(splits={0: 2, 2: 2, 4: 2}, noisy=None)
PROMPTS = ("the digit 1", "the digit 7")


def stochastic(plan: StepPlan) -> tuple[int, ...]:
    """The steps that have noise, and so a density: those that can be trained."""
    return tuple(number for number, step in enumerate(plan.steps) if step.std > 0)


@pytest.mark.parametrize(
    ("splits", "leaves", "roots", "evaluations", "edges"),
    [
        (PAPER, 16, 1, 203, 218),
        ({0: 16}, 16, 1, 305, 320),
        ({}, 16, 16, 320, 320),
        ({6: 2}, 16, 8, 8 * 7 + 16 * 13, 8 * 6 + 16 * 14),
    ],
)
def test_evaluations_are_counted_by_the_formula(
    splits: dict[int, int], leaves: int, roots: int, evaluations: int, edges: int
) -> None:
    shape = TreeShape.of(splits, leaves, 20)
    assert (shape.roots, shape.evaluations, shape.edges, shape.leaves) == (
        roots,
        evaluations,
        edges,
        leaves,
    )
    below = [roots]
    for step in range(20):
        below.append(below[-1] * splits.get(step, 1))
    assert shape.evaluations == sum(below[:-1])


@pytest.mark.parametrize(
    ("splits", "leaves", "roots", "widths"),
    [
        (PAPER, 8, 1, {0: 2, 3: 2, 6: 2}),
        (PAPER, 24, 3, {0: 2, 3: 2, 6: 2}),
        (PAPER, 64, 4, PAPER),
        (PAPER, 1, 1, {}),
        (PAPER, 5, 5, {}),
        ({0: 1024}, 12, 3, {0: 4}),
        ({0: 4, 5: 3}, 12, 1, {0: 4, 5: 3}),
    ],
)
def test_any_number_of_leaves_finds_a_shape(
    splits: dict[int, int], leaves: int, roots: int, widths: dict[int, int]
) -> None:
    shape = TreeShape.of(splits, leaves, 20)
    assert shape.leaves == leaves
    assert shape.roots == roots
    assert {step: width for step, width in enumerate(shape.widths) if width > 1} == widths


def test_the_network_is_asked_once_a_parent() -> None:
    denoiser = SmallDenoiser(steps=20)
    chosen = step_plan(TreeSettings(splits=PAPER, noisy=None), denoiser.schedule, 0)
    rollout_trees(denoiser, TreeShape.of(PAPER, 16, 20), chosen, PROMPTS, (1, 2), rows=64)
    assert denoiser.rows == {False: 2 * 203, True: 0}


def test_ancestors_follow_from_the_widths() -> None:
    shape = TreeShape(2, (3, 1, 2))
    assert [shape.ancestor(leaf, 0) for leaf in range(12)] == [0] * 6 + [1] * 6
    assert [shape.ancestor(leaf, 2) for leaf in range(12)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [shape.ancestor(leaf, 3) for leaf in range(12)] == list(range(12))


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_siblings_share_noise_as_the_paper_says(scale: float) -> None:
    seeds = range(400)
    drawn = edge_noise(seeds, 1, range(4), 2, scale, (100,))  # nodes 0, 1 are siblings, and so are 2, 3
    law = torch.cov(drawn.transpose(0, 1).flatten(1))
    shared = 1 / (1 + scale**2)
    wanted = torch.eye(4) + shared * torch.kron(torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    torch.testing.assert_close(law, wanted, atol=0.03, rtol=0)
    alone = edge_noise(seeds, 1, range(4), 1, scale, (100,))
    torch.testing.assert_close(torch.cov(alone.transpose(0, 1).flatten(1)), torch.eye(4), atol=0.03, rtol=0)


def test_noise_depends_on_seed_depth_and_node_alone() -> None:
    both = node_noise((5, 6), 2, range(3), SHAPE)
    assert torch.equal(both[1:, 2:], node_noise((6,), 2, [2], SHAPE))
    others = [
        node_noise((6,), 3, [2], SHAPE),
        node_noise((6,), 2, [1], SHAPE),
        node_noise((7,), 2, [2], SHAPE),
    ]
    assert all(not torch.equal(both[1:, 2:], other) for other in others)
    siblings = edge_noise((6,), 2, range(4), 2, 4.0, SHAPE)
    assert torch.equal(siblings[:, 3:], edge_noise((6,), 2, [3], 2, 4.0, SHAPE))


def test_a_leaf_replays_alone_and_chunks_change_nothing() -> None:
    denoiser = SmallDenoiser()
    chosen, shape = step_plan(SMALL, denoiser.schedule, 0), TreeShape.of(SMALL.splits, 8, 8)
    whole = rollout_trees(denoiser, shape, chosen, PROMPTS, (11, 12), rows=1000)
    pieces = rollout_trees(denoiser, shape, chosen, PROMPTS[1:], (12,), rows=3)
    torch.testing.assert_close(whole.leaves[1:], pieces.leaves, atol=1e-5, rtol=1e-5)
    for leaf in (0, 3, 7):
        before = denoiser.rows[False]
        again = replay(denoiser, shape, chosen, PROMPTS[1], 12, leaf)
        torch.testing.assert_close(again, whole.leaves[1, leaf], atol=1e-5, rtol=1e-5)
        assert denoiser.rows[False] - before == 8
    same = rollout_trees(denoiser, shape, chosen, PROMPTS, (11, 12), rows=1000)
    assert torch.equal(same.leaves, whole.leaves)


def test_siblings_differ_and_a_deterministic_tree_does_not() -> None:
    denoiser = SmallDenoiser()
    trees = rollout_trees(
        denoiser, TreeShape.of({0: 4}, 4, 8), step_plan(SMALL, denoiser.schedule, 0), ["the digit 3"], [1], 99
    )
    assert torch.pdist(trees.leaves[0].flatten(1)).min() > 0.1
    flat = rollout_trees(
        denoiser, TreeShape.of({}, 1, 8), ode_plan(denoiser.schedule), ["the digit 3"], [1], 99
    )
    latents = node_noise([1], 0, [0], SHAPE)[0]
    with torch.no_grad():
        for step in range(8):
            after = denoiser.schedule.noise[step + 1]
            seen = denoiser.predict(latents, step, ["the digit 3"])
            latents = (1 - after) * seen.clean + after * seen.noise
    torch.testing.assert_close(flat.leaves[0], latents)
    assert all(part is None for part in (*flat.latents, *flat.log_probs))


def test_one_split_at_the_start_is_a_plain_sequential_group() -> None:
    """States and densities are those of a loop over samples that share nothing but the start noise."""
    denoiser = SmallDenoiser()
    settings = TreeSettings(splits={0: 4}, noisy=None)
    chosen = step_plan(settings, denoiser.schedule, 0)
    trees = rollout_trees(denoiser, TreeShape.of(settings.splits, 4, 8), chosen, ["the digit 2"], [9], 99)
    start = node_noise([9], 0, [0], SHAPE)[0]
    for sample in range(4):
        latents = start
        for number, step in enumerate(chosen.steps):
            with torch.no_grad():
                mean = step.mean(denoiser.predict(latents, number, ["the digit 2"]))
            latents = mean
            if step.std > 0:
                siblings = 4 if number == 0 else 1
                latents = mean + step.std * edge_noise([9], number + 1, [sample], siblings, 4.0, SHAPE)[0]
                kept, density = trees.latents[number + 1], trees.log_probs[number]
                assert kept is not None and density is not None
                torch.testing.assert_close(kept[0, sample], latents[0], atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(density[0, sample], log_prob(latents, mean, step.std)[0])
        torch.testing.assert_close(trees.leaves[0, sample], latents[0], atol=1e-5, rtol=1e-5)


def test_the_window_follows_the_updates() -> None:
    window = WindowSettings(first=0, size=3, every=2, last=5)
    assert [window_at(window, updates, 20)[0] for updates in range(14)] == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
        5,
        5,
        5,
        5,
    ]
    back = WindowSettings(first=15, size=4, every=1, stride=-3, last=9)
    assert [list(window_at(back, updates, 20)) for updates in range(4)] == [
        [15, 16, 17, 18],
        [12, 13, 14, 15],
        [9, 10, 11, 12],
        [9, 10, 11, 12],
    ]
    assert list(window_at(WindowSettings(first=18, size=4), 0, 20)) == [16, 17, 18, 19]
    assert list(window_at(WindowSettings(first=3, size=2), 10**6, 20)) == [3, 4]


def test_mix_is_noisy_at_splits_and_in_the_moving_window_only() -> None:
    schedule = SmallDenoiser(steps=20).schedule
    mix = TreeSettings(splits=PAPER, noisy=WindowSettings(first=1, size=2, every=10), tail=0)
    assert stochastic(step_plan(mix, schedule, 0)) == (0, 1, 2, 3, 6, 9)
    assert stochastic(step_plan(mix, schedule, 10)) == (0, 2, 3, 6, 9)
    assert stochastic(step_plan(mix, schedule, 35)) == (0, 3, 4, 5, 6, 9)
    assert stochastic(step_plan(TreeSettings(noisy=None), schedule, 0)) == tuple(range(19))
    short = step_plan(mix.model_copy(update={"tail": 4}), schedule, 0)
    assert short.points == (*range(10), 10, 12, 15, 18, 20)
    assert short.steps[-1].std == 0 and short.steps[-1].noise_weight == 0
    assert step_plan(TreeSettings.model_validate("nft"), schedule, 0).points == tuple(range(0, 21, 2))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_plans_a_roll_out(preset: str) -> None:
    chosen = step_plan(TreeSettings.model_validate(preset), SmallDenoiser(steps=20).schedule, 50)
    assert chosen.points[0] == 0 and chosen.points[-1] == 20
    assert bool(stochastic(chosen)) == (preset != "nft")
