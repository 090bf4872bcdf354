"""Threads of a node: its owner's word, the environment's, and what a default must not do to others on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from node.config.reading import load_config
from node.runtime.build import set_threads
from policies.hardware import free_cores, usable_cores


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(7)
    yield
    torch.set_num_threads(before)


def with_cores(monkeypatch: pytest.MonkeyPatch, cores: int, load: float) -> None:
    monkeypatch.setattr("policies.hardware.usable_cores", lambda: cores)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))


@pytest.mark.parametrize(
    ("preset", "settings", "wanted"),
    [
        ("tiny", [], 1),
        ("digits", [], 1),
        ("smollm2", [], 5),
        ("tiny", ["threads=3"], 3),
        ("smollm2", ["threads=3"], 3),
    ],
)
def test_networks_of_our_own_take_one_thread_and_others_what_is_free(
    preset: str, settings: list[str], wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cores(monkeypatch, 8, 3.6)
    set_threads(load_config(preset, settings))
    assert torch.get_num_threads() == wanted


def test_the_environment_is_asked_before_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    set_threads(load_config("tiny", []))
    assert torch.get_num_threads() == 7


@pytest.mark.parametrize(("load", "free"), [(0.0, 4), (0.9, 4), (1.0, 3), (3.2, 1), (40.0, 1)])
def test_a_core_is_free_where_nothing_kept_it_busy(
    load: float, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cores(monkeypatch, 4, load)
    assert free_cores() == free


def test_a_system_that_tells_no_load_has_all_its_cores_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg")
    assert free_cores() == usable_cores()


def test_numpy_has_one_thread_unless_its_owner_says_otherwise() -> None:
    """Its threads wait by turning: a peer's images took five times the processor time on a busy machine."""
    script = "import policies, os; print(os.environ['OPENBLAS_NUM_THREADS'])"
    for told, expected in ({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3"):
        plain = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
        found = subprocess.run(
            [sys.executable, "-c", script], env=plain | told, capture_output=True, text=True
        )
        assert found.stdout.strip() == expected
