"""Health: each state, its HTTP status, and how long silence may last."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sample_events import ROUND

from node.config.sections.metrics import MetricsConfig
from node.report.health import SHORTEST_PATIENCE, Health
from node.storage.events import RoundEvent


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("last", "silence", "state", "status"),
    [
        (None, 1799.0, "starting", 200),
        (None, 1801.0, "stale", 503),
        (ROUND, 1.0, "ok", 200),
        (replace(ROUND, alone=True), 1.0, "alone", 200),
        (replace(ROUND, diverged="loss is nan"), 1.0, "diverging", 503),
        (replace(ROUND, diverged="loss is nan", alone=True), 1.0, "diverging", 503),
        (replace(ROUND, seconds=20.0), 199.0, "ok", 200),
        (replace(ROUND, seconds=20.0), 201.0, "stale", 503),
        (replace(ROUND, seconds=20.0, alone=True), 201.0, "stale", 503),
        (replace(ROUND, seconds=0.1), SHORTEST_PATIENCE - 1, "ok", 200),
        (replace(ROUND, seconds=0.1), SHORTEST_PATIENCE + 1, "stale", 503),
    ],
)
def test_the_state_and_its_status(last: RoundEvent | None, silence: float, state: str, status: int) -> None:
    clock = Clock()
    health = Health(MetricsConfig(), clock)
    if last:
        health.on_round(last)
    clock.now += silence
    standing = health.standing()
    assert (standing.state, standing.status) == (state, status)
    assert bool(standing.why) == (state != "ok") and standing.as_dict()["status"] == state


def test_one_long_round_is_not_the_measure_and_an_evaluation_is_a_sign_of_life() -> None:
    clock = Clock()
    health = Health(MetricsConfig(stale_after=4.0), clock)
    for seconds in (10.0, 10.0, 10.0, 9000.0):
        health.on_round(replace(ROUND, seconds=seconds))
    clock.now += 39.0
    assert health.standing().state == "ok"
    health.on_evaluation()
    clock.now += 39.0
    assert health.standing().state == "ok"
    clock.now += 2.0
    assert health.standing().state == "stale"
