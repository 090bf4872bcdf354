"""A text policy on equal rewards: weights, momentum, schedule and version stay as they were."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from test_text_policy import PROBLEMS, one_round, policy_of, weights

from policies.advantage import group_relative
from policies.policy import Stale, UpdateSpec, sample_groups
from policies.rollout import TrainGroup

SPECS = [
    UpdateSpec(),
    UpdateSpec(epochs=3),
    UpdateSpec(stale=Stale.RECOMPUTE),
    UpdateSpec(constant_length=8),
    UpdateSpec(learning_rate_scale=4.0, clip=(0.2, 0.3)),
]


def subtracted(rewards: Sequence[float]) -> tuple[float, ...]:
    """As somebody would who did not know of rounding."""
    mean = sum(rewards) / len(rewards)
    return tuple(reward - mean for reward in rewards)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("advantages_of", [group_relative, subtracted])
def test_equal_rewards_change_nothing(spec: UpdateSpec, advantages_of: object, tmp_path: Path) -> None:
    assert callable(advantages_of)
    policy = policy_of(weight_decay=0.1)
    for seed in range(2):
        one_round(policy, seed)  # there is momentum now
    version, before = policy.version, weights(policy)
    progress = policy._trainer.progress()
    momentum = {
        key: {n: torch.clone(v) for n, v in s.items()} for key, s in progress["optimizer"]["state"].items()
    }
    groups = sample_groups(policy, PROBLEMS, 3, seed=9)
    batch = [TrainGroup(group, advantages_of([0.1] * 3)) for group in groups]
    assert policy.update(batch, spec) is None
    assert policy.version == version
    assert all(torch.equal(value, before[name]) for name, value in weights(policy).items())
    after = policy._trainer.progress()
    assert after["step"] == progress["step"] and after["scheduler"] == progress["scheduler"]
    for key, state in after["optimizer"]["state"].items():
        assert all(torch.equal(torch.as_tensor(value), momentum[key][name]) for name, value in state.items())
