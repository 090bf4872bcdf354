"""The line that a bootstrap prints now and then: whether it is healthy, and how many peers announced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from node.runtime.serve_bootstrap import SILENT_BEATS, START_SECONDS, Heartbeats, _wait_ready, standing
from swarm.errors import TransportDown
from swarm.network.ipc import STARTING
from swarm.transport.base import TransportStatus


class Unread:
    """Knows of peers only once their announcements were read, as the transport over the DHT does."""

    def __init__(self, peers: int, failure: TransportDown | None = None) -> None:
        self._peers, self._failure, self._known = peers, failure, 0
        self.warnings: dict[str, str] = {}

    def announcements(
        self, want: int, declined: Sequence[object] = (), known: Sequence[str] = ()
    ) -> list[SimpleNamespace]:
        if self._failure:
            raise self._failure
        self._known = self._peers
        return [SimpleNamespace()] * min(want, self._peers)

    def status(self) -> TransportStatus:
        detail = str(self._failure or "")
        return TransportStatus(self._failure is None, (), self._known, {}, detail, warnings=self.warnings)


def test_a_bootstrap_counts_peers_that_nobody_asked_it_for() -> None:
    assert standing(Unread(2), {}) == "healthy; 2 peers announced in the last 10 minutes"  # type: ignore[arg-type]
    assert standing(Unread(1), {}) == "healthy; 1 peer announced in the last 10 minutes"  # type: ignore[arg-type]


def test_a_bootstrap_whose_daemon_is_down_says_so() -> None:
    down = Unread(2, TransportDown("lost the network daemon"))
    assert (
        standing(down, {}) == "not healthy: lost the network daemon; 0 peers announced in the last 10 minutes"
    )  # type: ignore[arg-type]


def test_a_bootstrap_says_a_warning_once_until_it_changes_or_comes_back() -> None:
    transport, told = Unread(1), dict[str, str]()
    said: list[list[str]] = []
    for warnings in ({"clock": "late"}, {"clock": "late"}, {"clock": "later"}, {}, {"clock": "later"}):
        transport.warnings = warnings
        said.append(standing(transport, told).splitlines()[1:])  # type: ignore[arg-type]
    assert said == [["late"], [], ["later"], [], ["later"]]


def test_what_has_not_changed_is_said_now_and_then_with_the_place_of_the_invite() -> None:
    beats, swarm = Heartbeats(Path("runs/bootstrap/invite.txt")), Unread(1)
    one = "healthy; 1 peer announced in the last 10 minutes; the invite is in runs/bootstrap/invite.txt"
    said = [beats.line(swarm) for _ in range(SILENT_BEATS + 2)]  # type: ignore[arg-type]
    assert said == [one, *[""] * SILENT_BEATS, one]
    swarm.warnings = {"clock": "late"}
    assert beats.line(swarm) == f"{one}\nlate" and beats.line(swarm) == ""  # type: ignore[arg-type]
    assert beats.line(Unread(2)).startswith("healthy; 2 peers")  # type: ignore[arg-type]


class Slow:
    """Is ready when it is waited for the last time that is allowed for."""

    def __init__(self, detail: str, waits: int) -> None:
        self._detail, self._waits = detail, waits
        self.waited: list[float | None] = []

    def wait_ready(self, timeout: float | None = None) -> None:
        self.waited.append(timeout)
        if len(self.waited) < self._waits:
            raise TransportDown(f"not in the swarm: {self._detail}")

    def status(self) -> TransportStatus:
        return TransportStatus(False, (), 0, {}, self._detail)


def test_a_daemon_that_only_takes_long_is_waited_for_and_one_that_fails_is_not() -> None:
    slow = Slow(STARTING, waits=2)
    _wait_ready(slow)  # type: ignore[arg-type]
    assert slow.waited == [None, START_SECONDS]
    for never in (Slow(STARTING, waits=3), Slow("no bootstrap peer answers", waits=2)):
        with pytest.raises(TransportDown):
            _wait_ready(never)  # type: ignore[arg-type]
    assert never.waited == [None]
