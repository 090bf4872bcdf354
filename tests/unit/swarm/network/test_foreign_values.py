"""Values of other programs in our DHT: counted by who sent them, who goes on is left, and the owner is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from swarm.network.foreign_values import ForeignValues


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_caller_over_its_budget_is_left_for_a_while_and_no_other() -> None:
    clock = Clock()
    guard = ForeignValues(lambda: 0, clock)
    left = [guard.note("them", 1, 1000) for _ in range(20)]
    assert left.index(True) == 16
    assert guard.is_blocked("them") and not guard.is_blocked("us")
    assert guard.counters["foreign_values"] == 20 and guard.counters["foreign_bytes"] == 20_000
    assert guard.by_caller == {"them": 20}
    clock.now = 1801.0
    assert not guard.is_blocked("them")


def test_large_values_are_too_many_sooner_and_a_few_are_forgiven() -> None:
    clock = Clock()
    guard = ForeignValues(lambda: 0, clock)
    assert [guard.note("them", 1, 100_000) for _ in range(3)] == [False, False, True]
    for _ in range(200):  # one every two minutes: clocks, restarts, releases
        clock.now += 120.0
        assert not guard.note("honest", 1, 500)
    assert not guard.note("us", 0, 10**6)
    assert "us" not in guard.by_caller


def test_the_owner_is_told_from_a_few_values_on() -> None:
    guard = ForeignValues(lambda: 0, Clock())
    for n in range(7):
        guard.note(f"peer{n}", 1, 10)
    assert guard.warning == ""
    guard.note("peer7", 1, 10)
    assert guard.warning.startswith("values of several peers were refused at this node's part of the DHT")


def test_the_owner_is_told_who_it_was_and_the_words_change_with_that_alone() -> None:
    guard, told = ForeignValues(lambda: 0, Clock()), list[str]()
    for n in range(9):
        for _ in range(20):
            guard.note(f"peer{n}", 1, 10)
            told.append(guard.warning.partition(" were")[0])
    first = [f"values of peer0{more}" for more in ("", ", peer1", ", peer1, peer2", ", peer1, peer2, peer3")]
    assert list(dict.fromkeys(told)) == ["", *first, f"{first[-1]} and others"]


def test_floods_of_names_stay_bounded() -> None:
    guard = ForeignValues(lambda: 0, Clock())
    for n in range(2000):
        guard.note(f"peer{n}", 20, 10)
    assert len(guard._by_caller) <= 1024 and len(guard._blocked) <= 1024 and len(guard.by_caller) == 32


@pytest.mark.parametrize("broken", [False, True])
def test_stores_are_counted_by_caller_who_is_parted_from_when_left(broken: bool) -> None:
    refused: Counter[str] = Counter()
    parted: list[str] = []

    async def disconnect(caller: str) -> None:
        parted.append(caller)

    guard = ForeignValues(refused.total, Clock())
    protocol: Any = SimpleNamespace(
        routing_table=SimpleNamespace(peer_id_to_uid={}),
        p2p=SimpleNamespace(_client=SimpleNamespace(disconnect=disconnect)),
    )

    async def store(caller: Any) -> str:
        guard.refuse_blocked(caller)
        with guard.counting(protocol, caller, 1000):
            if broken:
                raise AssertionError("no dictionary")
            refused["record"] += 1
        return "stored nothing"

    async def run() -> list[str]:
        answers = []
        for _ in range(20):
            try:
                answers.append(await store("them"))
            except (AssertionError, PermissionError) as error:
                answers.append(type(error).__name__)
        await asyncio.sleep(0)
        return answers

    answered = asyncio.run(run())
    assert answered == ["AssertionError" if broken else "stored nothing"] * 17 + ["PermissionError"] * 3
    assert parted == ["them"]
    assert guard.by_caller == {"them": 17}
