"""Gossip's settings, apart from the service: who only looks at a config loads no more than them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """How eagerly a node exchanges."""

    interval: float = 2.0  # seconds between cycles
    longest_pause: float = 60.0  # seconds; pauses double up to it while the transport is down
    # The same while it is up, and the swarm answered too late: the next look may bring something.
    late_pause: float = 8.0
    queue: int = 16  # rounds that wait to be published; the oldest gives way
    want: int = 24  # announcements to look for in a cycle: three times J = 8; 0 in a silo
    fetches: int = 8  # good bodies a cycle at most
    parallel: int = 4  # fetches at a time
    patience: float = 4.0  # seconds for a fetch, after which another publisher gets its turn too
    # The same for a publisher that did not deliver of late, or is new where others are known.
    brief: float = 0.2
    deadline: float = 15.0  # seconds for all fetches of a cycle
    tries: int = 3  # fetches of one announcement before it is given up
    enough: int = 64  # groups in the pool at which fetching rests
    alone_after: float = 30.0  # seconds without any peer; a slow one is waited for, by its own rhythm
