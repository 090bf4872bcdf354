"""One event that a round could have left, for tests of what reads events."""

from __future__ import annotations

from node.storage.events import RoundEvent

ROUND = RoundEvent(
    round=1,
    reward=0.25,
    rewards_by_task={"sort@1": 0.25},
    published=4,
    received=3,
    set_aside=1,
    refused={"stale": 2},
    trained_local=4,
    trained_external=2,
    missing_external=2,
    pool=0,
    peers=2,
    policy_version=1,
    loss=0.1,
    grad_norm=1.5,
    entropy=0.7,
    tokens=100,
    seconds=1.0,
    cpu_seconds=0.9,
    stage_one=0.3,
    hard=3,
    dropped={"all_wrong": 1},
    carried=2,
    left=5,
    idle_share=0.4,
    stale_share=0.1,
)
