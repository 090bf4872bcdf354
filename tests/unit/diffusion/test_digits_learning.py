"""Learning on real digits from the default start, which takes minutes where it is not cached yet: run by name."""

from __future__ import annotations

import pytest

from node.bench.branch.arms import Arm
from policies.diffusion.settings import DigitsSource
from policies.tasks.digits import build_digits_task
from policies.tasks.task import TaskSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(("name", "iterations"), [("branch", 20), ("nft", 10)])
def test_the_judge_sees_what_the_reward_taught(name: str, iterations: int) -> None:
    """From 0.555; measured 0.825 and 0.87. The judge has another architecture and other data than the reward."""
    arm = Arm(name, build_digits_task(TaskSpec("digits")), DigitsSource(), seed=0)
    before = arm.evaluate()
    for _ in range(iterations):
        arm.iterate()
    after = arm.evaluate()
    assert 0.45 < before.judged < 0.7
    assert after.judged - before.judged > 0.12
    assert after.reward > before.reward
