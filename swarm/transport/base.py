"""The Transport protocol moves announcements and bodies; `dht`, `in_memory` and `silo` implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from swarm.exchange.autonat import Reachability
from swarm.exchange.told_refusals import NO_REFUSALS
from swarm.wire.announcement import Announcement, Summary


@dataclass(frozen=True, slots=True)
class TransportStatus:
    """What a person wants to know about the network side right now."""

    healthy: bool
    addresses: tuple[str, ...]  # dialable multiaddrs of this node, each ending in /p2p/<PeerID>
    peers_seen: int  # distinct publishers with a live announcement
    counters: Mapping[str, int]  # published, fetched, fetched_bytes, served, served_bytes, refused_<why>, ...
    detail: str = ""  # one line: why unhealthy, or empty
    reach: Reachability = Reachability.UNKNOWN  # whether others can dial this node
    warnings: Mapping[str, str] = field(default_factory=dict)  # kind and words: what the owner has to mend
    refused_values: Mapping[str, int] = field(default_factory=dict)  # in the DHT, by who sent them
    # Seconds that peers' clocks are ahead, the median; None before any answered.
    clock_offset: float | None = None
    cpu_seconds: float = 0.0  # of the transport's own processes since it was made, as last told
    # Of those that ended: the kernel counts them among this process's children.
    ended_cpu_seconds: float = 0.0


class Transport(Protocol):
    """Thread-safe. Every call returns or raises within its configured time. Joins in the background."""

    def wait_ready(self, timeout: float | None = None) -> None:
        """Returns once others can be reached. Raises TransportDown with the cause after `timeout` seconds;
        joining goes on in the background. None takes the transport's own patience.
        """
        ...

    def publish(self, body: bytes, summary: Summary) -> Announcement:
        """Keeps `body` for others to fetch and announces it. Raises TransportError."""
        ...

    def announcements(
        self, want: int, declined: Sequence[Announcement] = (), known: Sequence[str] = ()
    ) -> Sequence[Announcement]:
        """Live, signature-checked announcements of *other* peers, at most one a peer, newest first.

        Looks further until it has about `want` or has seen all. In a swarm too large to know everybody: those of
        peers drawn uniformly, enough for the bodies that `want` stands for (a third as many); a drawn one keeps its
        place until it was fetched or is among the `declined`, those of an earlier answer that the caller has no use
        for. `known` are PeerIDs that gave the caller something good of late: what they ask for goes before what others
        do. May return fewer, or none. Raises TransportError.
        """
        ...

    def fetch(self, announcement: Announcement, refused: Mapping[str, int] = NO_REFUSALS) -> bytes:
        """The body, checked against the announced size and digest. Raises FetchFailed or TransportDown.

        `refused`: rollouts of that peer's earlier bodies that were left out, by reason. It is told of them, if it is
        asked itself.
        """
        ...

    def status(self) -> TransportStatus:
        """Never raises; a dead transport is `healthy=False` with the reason in `detail`."""
        ...

    def close(self) -> None:
        """Ends every process and socket it started. Idempotent."""
        ...
