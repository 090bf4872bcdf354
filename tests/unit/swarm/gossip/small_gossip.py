"""Gossip between small nodes on a transport in memory, and a transport that fails when told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from fakes import SWARM, Addition, ManualClock, encode

from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.exchange.told_refusals import NO_REFUSALS
from swarm.gossip.service import Gossip
from swarm.gossip.settings import GossipSettings
from swarm.sampling.external_pool import ExternalPool
from swarm.transport.base import Transport, TransportStatus
from swarm.wire.announcement import Announcement, Summary

SECONDS = 10.0  # before a test gives a thread up


def gossip_of(
    peer: str, transport: Transport, clock: ManualClock, **settings: float
) -> tuple[Gossip, ExternalPool]:
    pool = ExternalPool()
    keeper = RolloutVerifier(SWARM, peer, {Addition.name: Addition()}, encode, clock)
    generator = np.random.default_rng(0)
    return Gossip(transport, keeper, pool, clock, generator, GossipSettings(**settings)), pool


class Broken:
    """A transport on which every call fails, as it is told to."""

    def __init__(self, error: Exception, healthy: bool = False) -> None:
        self.error, self.healthy = error, healthy

    def wait_ready(self, timeout: float | None = None) -> None:
        raise self.error

    def publish(self, body: bytes, summary: Summary) -> Announcement:
        raise self.error

    def announcements(
        self, want: int, declined: Sequence[Announcement] = (), known: Sequence[str] = ()
    ) -> Sequence[Announcement]:
        raise self.error

    def fetch(self, announcement: Announcement, refused: Mapping[str, int] = NO_REFUSALS) -> bytes:
        raise self.error

    def status(self) -> TransportStatus:
        return TransportStatus(self.healthy, (), 0, {}, "broken")

    def close(self) -> None: ...
