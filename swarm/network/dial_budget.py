"""The dial budget: strangers' announcements do not make this node knock at a host that has nothing to do with it.

An announcement may name any address, and a thousand nodes that read it would all connect there. A target that spoke a
protocol of ours when it was dialled last is free; others may be dialled a few times a minute each, and each announcing
peer may name so many.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable

from swarm.exchange.rate_limit import PeerBuckets
from swarm.wire.multiaddr import Address

PERIOD = 60.0  # seconds in which the budgets below come back
OF_TARGET = 4  # dials to one host and port that never spoke
OF_HOST = 16  # dials to ports of one host at which nothing ever spoke
OF_ANNOUNCER = 12  # dials to targets that never spoke, for one peer's announcements: four of three addresses
_MAX_SPOKEN = 4096  # targets that are remembered; the longest unheard of is forgotten first


class DialBudget:
    """Of one node, in one event loop. Counts `dial_budget`: dials that were not made."""

    def __init__(
        self, configured: Iterable[Address] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`configured` targets, which the owner of this node named, are free."""
        self.counters: Counter[str] = Counter()
        self._targets = PeerBuckets(OF_TARGET / PERIOD, OF_TARGET, clock)
        self._hosts = PeerBuckets(OF_HOST / PERIOD, OF_HOST, clock)
        self._announcers = PeerBuckets(OF_ANNOUNCER / PERIOD, OF_ANNOUNCER, clock)
        self._configured = {(a.host, a.port) for a in configured}
        self._spoken: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._speaking_hosts: Counter[str] = Counter()

    def within(self, addresses: Iterable[Address], announcer: str) -> list[Address]:
        """Those that may be dialled now for the word of `announcer`, a PeerID; each counts as dialled."""
        return [a for a in addresses if self._takes(a, announcer)]

    def note_spoke(self, targets: Iterable[Address]) -> None:
        """A node that speaks our protocol was reached there, or at the same host, of which it names these ports."""
        for target in targets:
            place = target.host, target.port
            if place not in self._spoken:
                self._speaking_hosts[target.host] += 1
            self._spoken[place] = None
            self._spoken.move_to_end(place)
            if len(self._spoken) > _MAX_SPOKEN:
                self._forget(next(iter(self._spoken)))

    def spoke(self, target: Address) -> bool:
        """Whether our protocol was spoken there when it was dialled last."""
        return (target.host, target.port) in self._spoken

    def note_failed(self, targets: Iterable[Address]) -> None:
        """Nothing spoke there this time, so that the next dials count again."""
        for target in targets:
            if (target.host, target.port) in self._spoken:
                self._forget((target.host, target.port))

    def _forget(self, place: tuple[str, int]) -> None:
        del self._spoken[place]
        self._speaking_hosts[place[0]] -= 1
        self._speaking_hosts += Counter()  # forgets those with none left

    def _takes(self, target: Address, announcer: str) -> bool:
        place = target.host, target.port
        if place in self._spoken or place in self._configured:
            return True
        within = (
            self._announcers.take(announcer, 1.0)
            and (target.host in self._speaking_hosts or self._hosts.take(target.host, 1.0))
            and self._targets.take(f"{target.host} {target.port}", 1.0)
        )
        self.counters["dial_budget"] += not within
        return within
