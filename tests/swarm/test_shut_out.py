"""Whoever joins through a bootstrap of another swarm, or of a private one by its address alone, is told so."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from patience import PATIENCE
from test_dht_transport import MANIFEST, until
from test_real_networks import PRIVATE, SECRET

from swarm.errors import TransportDown
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.manifest import Manifest

pytestmark = pytest.mark.swarm


@pytest.mark.parametrize(
    ("hub", "secret"),
    [(PRIVATE, SECRET), (replace(MANIFEST, name="lake"), b"")],
    ids=["private", "another"],
)
def test_who_is_not_of_the_swarm_is_told_at_once_and_stores_nothing(
    hub: Manifest, secret: bytes, tmp_path: Path
) -> None:
    settings = DhtSettings(hub, secret=secret, start_timeout=PATIENCE)
    with closing(DhtTransport(settings, tmp_path / "hub.key")) as bootstrap:
        bootstrap.wait_ready()
        ways = bootstrap.status().addresses
        stranger = DhtTransport(DhtSettings(MANIFEST, ways), tmp_path / "stranger.key")
        with closing(stranger):
            with pytest.raises(
                TransportDown, match=r"whoever answers at 127\.0\.0\.1:\d+ serves another swarm"
            ):
                stranger.wait_ready(PATIENCE)
            assert stranger.status().detail.endswith("or a private one: join with its whole invite")
        member = DhtTransport(DhtSettings(hub, ways, secret=secret), tmp_path / "member.key")
        with closing(member):
            member.wait_ready(PATIENCE)
        until(lambda: bootstrap.status().counters.get("told") is not None, "the member was answered")
        assert not bootstrap.status().refused_values
