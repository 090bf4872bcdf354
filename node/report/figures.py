"""The figures of rounds and evaluations by the names under which trackers show them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from node.storage.events import EvaluationEvent, RoundEvent

Figures = dict[str, float]

# Name -> field of RoundEvent. Counts are of the round alone.
OF_A_ROUND = {
    "reward": "reward",
    "reward/external": "external_reward",
    "loss": "loss",
    "grad_norm": "grad_norm",
    "entropy": "entropy",
    "kl": "kl",
    "groups/own": "trained_local",
    "groups/external": "trained_external",
    "groups/missing": "missing_external",
    "groups/published": "published",
    "groups/received": "received",
    "groups/pool": "pool",
    "peers": "peers",
    "alone": "alone",
    "tokens": "tokens",
    "seconds": "seconds",
    "cpu_seconds": "cpu_seconds",
    "cpu_seconds/transport": "transport_cpu_seconds",
    "right_at_first": "stage_one",
    "cut_share": "cut_share",
    "stale_share": "stale_share",
    "policy_version": "policy_version",
}


def of_round(event: RoundEvent) -> Figures:
    """What is known and finite of a round."""
    named = {name: getattr(event, field) for name, field in OF_A_ROUND.items()}
    named |= {f"reward/task/{task}": reward for task, reward in event.rewards_by_task.items()}
    named |= {f"refused/{reason}": count for reason, count in event.refused.items()}
    named |= {f"dropped/{reason}": count for reason, count in event.dropped.items()}
    return _known({**named, "diverged": event.diverged is not None})


def of_evaluation(event: EvaluationEvent) -> Figures:
    """pass@1 on the held-out problems, over all and by task."""
    return _known(
        {
            "held_out": event.reward,
            **{f"held_out/task/{task}": reward for task, reward in event.rewards_by_task.items()},
        }
    )


def _known(named: Mapping[str, float | None]) -> Figures:
    return {name: float(value) for name, value in named.items() if value is not None and math.isfinite(value)}
