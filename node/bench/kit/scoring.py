"""How benchmarks score answered problems."""

from __future__ import annotations

import math

from policies.rollout import Group


def pass_at(k: int, group: Group) -> float:
    """Chance that one of k answers is right: the unbiased estimate of arXiv 2107.03374, eq. 1."""
    n, wrong = len(group.rollouts), sum(reward < 1.0 for reward in group.rewards)
    return 1.0 - math.comb(wrong, k) / math.comb(n, k)
