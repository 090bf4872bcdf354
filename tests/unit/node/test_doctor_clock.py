"""`murmur doctor` on the clock: against peers, or a word that nobody was asked."""

from __future__ import annotations

from typing import Any

import pytest

from node import doctor
from policies.tasks.task import TaskSpec
from swarm.errors import TransportDown
from swarm.exchange.autonat import Reachability
from swarm.transport.base import TransportStatus
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest

INVITE = Invite(Manifest("flock", (TaskSpec("sort"),)), ())


class Transport:
    """A visitor's, that joins or does not."""

    def __init__(self, joined: TransportStatus | TransportDown) -> None:
        self.joined, self.visits = joined, 0

    def wait_ready(self) -> None:
        self.visits += 1
        if isinstance(self.joined, TransportDown):
            raise self.joined

    def status(self) -> Any:
        return self.joined

    def close(self) -> None:
        pass


def status(offset: float | None, **warnings: str) -> TransportStatus:
    return TransportStatus(True, (), 0, {}, reach=Reachability.OPEN, warnings=warnings, clock_offset=offset)


@pytest.mark.parametrize(
    ("joined", "state", "words"),
    [
        (status(-0.31), "ok", "within 0.3 s of peers' (3 s are taken)"),
        (status(None), "warning", "not checked: no peer told the time"),
        (status(25.0, clock="this machine's clock is 25.0 s behind that of"), "failure", "25.0 s behind"),
        (
            TransportDown("not in the swarm after 60 s: this machine's clock is 25.0 s behind"),
            "failure",
            "25.0 s behind",
        ),
        (TransportDown("no bootstrap peer answers"), "warning", "not checked: no peer answered"),
    ],
)
def test_the_clock_is_compared_with_peers(
    joined: Any, state: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = Transport(joined)
    monkeypatch.setattr(doctor, "visitor_transport", lambda invite: transport)
    visit = doctor.Visit(INVITE)
    found = doctor.check_clock(visit)
    assert (found.state, words in found.fact, bool(found.fix)) == (state, True, state != "ok")
    if not isinstance(joined, TransportDown):
        assert doctor.check_reach(visit).state == "ok"
    assert transport.visits == 1


def test_without_an_invite_it_says_that_it_could_not_look() -> None:
    found = doctor.check_clock()
    assert "not checked" in found.fact and "peers refuse one that is off by more than" in found.fact
    assert "murmur doctor INVITE" in found.fix
