"""The announcement: a small signed entry that says who offers which body. Self-certifying.

Its signature covers the body's digest, so whoever holds an announcement can check a body from any source.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.rollout import Group


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """What a body holds of one task. Claims of the sender, used for choosing what to fetch, never for training."""

    task: str
    rollouts: int
    mean_reward: float  # in [0, 1]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a publisher says about a body."""

    round: int
    policy_version: int
    fingerprint: str
    groups: int
    rollouts: int
    tasks: tuple[TaskSummary, ...]


@dataclass(frozen=True, slots=True)
class Announcement:
    swarm: str
    epoch: int
    depth: int
    shard: int
    peer: str
    created: float
    expires: float
    digest: bytes
    size: int
    summary: Summary
    addresses: tuple[str, ...]
    signature: bytes = b""


def summarise(groups: list[Group]) -> None: ...
