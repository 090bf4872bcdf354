"""Back-off: pauses between tries double up to a bound, however long an outage lasts."""

from __future__ import annotations

import pytest

from swarm import process
from swarm.process import BackOff


@pytest.fixture(autouse=True)
def longest_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.random, "uniform", lambda low, high: high)


def test_pauses_double_up_to_half_a_minute() -> None:
    pauses = BackOff()
    assert [pauses.after(1.0) for _ in range(9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_what_ran_for_a_minute_begins_anew() -> None:
    pauses = BackOff()
    for _ in range(5):
        pauses.after(1.0)
    assert pauses.after(61.0) == 0.25
    assert pauses.failures == 0


def test_an_outage_of_hours_ends_no_tries() -> None:
    pauses = BackOff()
    assert {pauses.after(0.0) for _ in range(3000)} == {0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0}
