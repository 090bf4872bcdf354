"""Fixtures for all tests; unit tests may not reach the network."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from node.ui import interrupts

# No example is too slow, nor the making of one: test machines are shared.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

UNIT = Path(__file__).parent / "unit"


@pytest.fixture(autouse=True)
def nothing_left_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as where nobody says a width, and no earlier command's last words stand in an error."""
    monkeypatch.delenv("COLUMNS", raising=False)
    interrupts.on_leaving(lambda: "")


@pytest.fixture
def signals_heard() -> Iterator[None]:
    """A closed terminal too, which `nohup pytest` ignores; what a command made of signals goes with the test."""
    before = {number: signal.getsignal(number) for number in interrupts.NUMBERS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests that connect to anything but Unix sockets and loopback fail at the call that does."""
    if UNIT not in request.path.parents:
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        local = self.family == socket.AF_UNIX or ipaddress.ip_address(address[0]).is_loopback
        assert local, f"a unit test connects to {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
