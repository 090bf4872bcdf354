"""The transport of a node on its own: it owns no socket, publishes nowhere and offers nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from swarm.errors import FetchFailed
from swarm.exchange.told_refusals import NO_REFUSALS
from swarm.transport.base import TransportStatus
from swarm.wire.announcement import Announcement, Summary


class SiloTransport:
    """Takes bodies and drops them, so that the loop and gossip of a silo are those of any node."""

    def wait_ready(self, timeout: float | None = None) -> None:
        """There is nobody to wait for."""

    def publish(self, body: bytes, summary: Summary) -> Announcement:
        """An unsigned announcement that has expired: it describes the body and goes to nobody."""
        return Announcement(
            swarm="",
            epoch=0,
            depth=0,
            shard=0,
            peer="",
            created=0.0,
            expires=0.0,
            digest=hashlib.sha256(body).digest(),
            size=len(body),
            summary=summary,
            addresses=(),
        )

    def announcements(
        self, want: int, declined: Sequence[Announcement] = (), known: Sequence[str] = ()
    ) -> tuple[Announcement, ...]:
        return ()

    def fetch(self, announcement: Announcement, refused: Mapping[str, int] = NO_REFUSALS) -> bytes:
        raise FetchFailed("a silo fetches nothing: run with a swarm to hear of peers")

    def status(self) -> TransportStatus:
        return TransportStatus(healthy=True, addresses=(), peers_seen=0, counters={})

    def close(self) -> None:
        """Nothing to end."""
