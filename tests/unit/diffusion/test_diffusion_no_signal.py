"""A diffusion policy on equal rewards: weights, momentum, the old policy and the version stay as they were."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_diffusion_policy import advised, groups_of, policy, same, weights

from policies.diffusion.policy import DiffusionPolicy
from policies.policy import UpdateSpec
from policies.rollout import Group, TrainGroup


def rewarded(group: Group, rewards: Sequence[float], origin: str | None = None) -> Group:
    rollouts = tuple(r.scored(reward) for r, reward in zip(group.rollouts, rewards, strict=True))
    return replace(group, rollouts=rollouts, origin=origin)


def trained(**tree: object) -> DiffusionPolicy:
    """A policy whose optimiser has momentum."""
    drawer = policy(**tree)
    for seed in range(2):
        assert drawer.update(advised(groups_of(drawer, (1, 2), seed=seed))) is not None
    return drawer


def unchanged(before: dict[str, Any], after: dict[str, Any]) -> bool:
    states = [part["optimizer"]["state"] for part in (before, after)]
    momentum = all(
        torch.equal(value, states[1][key][name])
        for key, state in states[0].items()
        for name, value in state.items()
    )
    return momentum and same(before["old"], after["old"])


SUBTRACTED = 0.1 - sum([0.1] * 3) / 3  # rounding, and not zero


@pytest.mark.parametrize("spec", [UpdateSpec(), UpdateSpec(epochs=2), UpdateSpec(learning_rate_scale=8.0)])
@pytest.mark.parametrize("tree", [{}, {"learn": "forward"}, {"scale": "leaves"}, {"fusion_beta": 0.1}])
@pytest.mark.parametrize("advantage", [0.0, SUBTRACTED])
def test_equal_rewards_change_nothing(tree: dict[str, object], spec: UpdateSpec, advantage: float) -> None:
    drawer = trained(**tree)
    kept, progress = weights(drawer), deepcopy(drawer._trainer.progress())
    groups = [rewarded(group, [0.1] * 3) for group in groups_of(drawer, (1, 2), rollouts=3, seed=7)]
    others = [rewarded(g, [0.7] * 3, "peer") for g in groups_of(policy(seed=1), (3,), rollouts=3, seed=8)]
    batch = [TrainGroup(group, (advantage,) * 3) for group in [*groups, *others]]
    assert drawer.update(batch, spec) is None
    assert drawer.version == 2 and same(weights(drawer), kept)
    assert unchanged(progress, drawer._trainer.progress())
    assert drawer.waiting == 0


def test_leaves_of_equal_rewards_out_of_a_group_with_a_signal_change_nothing() -> None:
    """Two stages of one group are two trees: each of them compares only its own leaves."""
    drawer = trained()
    kept = weights(drawer)
    first, second = (groups_of(drawer, (1,), rollouts=n, seed=n)[0] for n in (4, 3))
    joined = replace(first, rollouts=first.rollouts + second.rollouts)
    both = rewarded(joined, [0.1] * 4 + [0.9] * 3)
    assert drawer.update(advised([both])) is None
    assert drawer.version == 2 and same(weights(drawer), kept)


def test_trees_without_a_signal_make_no_step_beside_images_with_one() -> None:
    """The optimiser steps of the images are made as if the trees were not there: momentum moves nothing on its own."""
    together, alone = trained(), trained()
    peers = advised([replace(groups_of(policy(seed=1), (3,), seed=9)[0], origin="peer")])
    for drawer in (together, alone):
        groups = [rewarded(group, [0.1] * 8) for group in groups_of(drawer, (1,), seed=7)]
        assert drawer.update([*(advised(groups) if drawer is together else []), *peers]) is not None
    assert same(weights(together), weights(alone))
