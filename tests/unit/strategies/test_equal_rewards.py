"""Equal rewards through every strategy, own and external groups, scaled and weighed: nothing is to be trained on."""

from __future__ import annotations

import pytest
from scored import STEP, group

from policies.strategies import build_strategy
from policies.strategies.settings import (
    AprilSettings,
    BrorlSettings,
    DarsSettings,
    GrpoSettings,
    StrategySettings,
)

STRATEGIES: dict[str, StrategySettings] = {
    "grpo": GrpoSettings(keep_zero_advantage=True),
    "grpo scaled, focal": GrpoSettings(scale_by_std=True, focal_gamma=2.0),
    "brorl": BrorlSettings(rollouts=8),
    "brorl down-sampled": BrorlSettings(rollouts=8, keep=3, focal_gamma=0.5),
    "dars": DarsSettings(),
    "dars scaled": DarsSettings(scale_by_std=True, focal_gamma=1.0),
    "april": AprilSettings(inner=BrorlSettings(rollouts=8)),
}
EQUAL = ([0.1] * 3, [0.7] * 7, [1 / 3] * 11, [1.0] * 4, [0.0] * 4, [0.1 + 0.2, 0.3, 0.3])


@pytest.mark.parametrize("name", STRATEGIES)
def test_their_advantages_are_exactly_zero(name: str) -> None:
    groups = [group(*rewards, seed=i, origin="peer" if i % 2 else None) for i, rewards in enumerate(EQUAL)]
    batch = build_strategy(STRATEGIES[name]).update(STEP, groups).batch
    assert len(batch) == len(EQUAL)
    assert all(member.zero_advantage and not any(member.advantages) for member in batch)


@pytest.mark.parametrize("name", STRATEGIES)
def test_beside_a_group_with_a_signal_they_stay_zero(name: str) -> None:
    groups = [group(*rewards, seed=i) for i, rewards in enumerate(EQUAL)]
    batch = build_strategy(STRATEGIES[name]).update(STEP, [*groups, group(0.1, 0.7, 0.4)]).batch
    assert [member.zero_advantage for member in batch] == [True] * len(EQUAL) + [False]
