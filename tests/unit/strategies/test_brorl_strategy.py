"""BroRL through the seam, GRPO beside it, and the focal weight of both."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
from scored import STEP, group, of, open_group, problem

from policies.policy import UpdateSpec
from policies.strategies.base import GroupDecision, LiveView
from policies.strategies.brorl import Brorl
from policies.strategies.grpo import Grpo
from policies.strategies.open_groups import OpenGroup
from policies.strategies.settings import BrorlSettings, GrpoSettings

GRPO = Grpo(GrpoSettings())
BRORL = Brorl(BrorlSettings(rollouts=16, base_batch=32))


def test_grpo_wants_its_rollouts_once_and_waits_for_them() -> None:
    groups = [OpenGroup(3, 0, problem(0)), open_group([1.0, None], index=1)]
    assert GRPO.demand(STEP, groups) == [8, 0]
    assert GRPO.open_groups(STEP) == STEP.wanted and GRPO.max_age == 0
    assert not GRPO.stop(LiveView(wanted=1, settled=4))


def test_grpo_advantages_by_hand() -> None:
    update = GRPO.update(STEP, [group(1, 0, 0, 0), group(1, 1, 0, 0)])
    assert [train.advantages for train in update.batch] == [
        (0.75, -0.25, -0.25, -0.25),
        (0.5, 0.5, -0.5, -0.5),
    ]
    assert update.spec == UpdateSpec()


def test_grpo_drops_keeps_or_replaces_what_has_no_signal() -> None:
    flat, telling = group(*of(0, 8)), group(*of(3, 8))
    for settings in (GrpoSettings(), GrpoSettings(keep_zero_advantage=True), GrpoSettings(replace=0.5)):
        assert Grpo(settings).admit(STEP, telling).decision is GroupDecision.TRAIN
    assert GRPO.admit(STEP, flat).decision is GroupDecision.DROP
    assert Grpo(GrpoSettings(keep_zero_advantage=True)).admit(STEP, flat).decision is GroupDecision.TRAIN
    replacing = Grpo(GrpoSettings(replace=0.5))
    decisions = [replacing.admit(replace(STEP, replaced=n), flat).decision for n in range(3)]
    assert decisions == [
        GroupDecision.REPLACE,
        GroupDecision.REPLACE,
        GroupDecision.DROP,
    ]  # half of the four wanted
    with pytest.raises(ValueError, match="set one of them"):
        GrpoSettings(keep_zero_advantage=True, replace=1.0)


def test_advantages_are_normalised_over_the_batch_and_sum_to_zero_in_each_group() -> None:
    update = BRORL.update(STEP, [group(*of(1, 16)), group(*of(8, 16)), group(0.3, 0.9, 0.1)])
    values = [value for train in update.batch for value in train.advantages]
    assert statistics.fmean(values) == pytest.approx(0, abs=1e-12)
    assert statistics.pstdev(values) == pytest.approx(1)
    assert [sum(train.advantages) for train in update.batch] == pytest.approx([0, 0, 0], abs=1e-12)


def test_the_learning_rate_grows_with_the_root_of_what_is_trained_on() -> None:
    # 128 problems of 512 rollouts against 512 of 16: 8 times the rollouts, 2.83 times the rate.
    paper = Brorl(BrorlSettings(rollouts=16, base_batch=2 * 16))
    assert paper.update(STEP, [group(*of(1, 128))] * 2).spec.learning_rate_scale == pytest.approx(8**0.5)
    halved = Brorl(BrorlSettings(rollouts=16, base_batch=32, keep=8))
    spec = halved.update(STEP, [group(*of(1, 16), seed=i) for i in range(4)]).spec
    assert spec.learning_rate_scale == 1.0
    assert spec.clip == (0.2, 0.27)


def test_dynamic_sampling_replaces_until_the_round_has_replaced_enough() -> None:
    limit = math.ceil(1.5 * STEP.wanted)
    decisions = [BRORL.admit(replace(STEP, replaced=n), group(*of(16, 16))) for n in range(limit + 2)]
    assert [a.decision for a in decisions] == [GroupDecision.REPLACE] * limit + [GroupDecision.DROP] * 2
    assert {a.reason for a in decisions} == {"all_right"}
    assert BRORL.admit(STEP, group(*of(1, 16))).decision is GroupDecision.TRAIN


def test_down_sampling_keeps_half_right_and_half_wrong() -> None:
    update = Brorl(BrorlSettings(rollouts=16, keep=8)).update(STEP, [group(*of(13, 16)), group(*of(2, 16))])
    assert [sorted(train.group.rewards) for train in update.batch] == [
        sorted([0.0] * 3 + [1.0] * 5),
        sorted([0.0] * 6 + [1.0] * 2),
    ]
    even = Brorl(BrorlSettings(rollouts=16, keep=4)).update(STEP, [group(*of(13, 16))]).batch[0]
    assert sorted(even.group.rewards) == [0, 0, 1, 1] and sorted(even.advantages) == [-1, -1, 1, 1]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_focal_weight_is_of_the_whole_group(gamma: float) -> None:
    focal = Grpo(GrpoSettings(focal_gamma=gamma)).update(STEP, [group(1, 1, 1, 0)]).batch[0]
    assert focal.advantages == pytest.approx([0.25**gamma * value for value in (0.25, 0.25, 0.25, -0.75)])
    broad = Brorl(BrorlSettings(rollouts=16, keep=4, focal_gamma=gamma))
    kept = broad.update(STEP, [group(*of(12, 16))]).batch[0]
    assert max(kept.advantages) == pytest.approx(0.25**gamma)


def test_external_groups_are_part_of_the_batch() -> None:
    update = BRORL.update(STEP, [group(1, 0), group(1, 0, origin="12D3Alice")])
    assert [train.group.external for train in update.batch] == [False, True]
    assert update.spec.learning_rate_scale == math.sqrt(4 / 32)
