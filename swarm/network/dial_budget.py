"""The dial budget: strangers' announcements do not make this node knock at a host that has nothing to do with it.

An announcement may name any address, and a thousand nodes that read it would all connect there. A target that spoke a
protocol of ours when it was dialled last is free; others may be dialled a few times a minute each, and each announcing
peer may name so many. libp2p remembers the addresses that it is told of a peer, and dials all of them together: so a
dial counts for each that it was told of late, whichever is asked for.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence

from swarm.exchange.rate_limit import PeerBuckets
from swarm.newest_kept import set_newest
from swarm.wire.multiaddr import Address

PERIOD = 60.0  # seconds in which the budgets below come back
OF_TARGET = 4  # dials to one host and port that never spoke
OF_HOST = 16  # dials to ports of one host at which nothing ever spoke, in whichever minute
OF_HOST_AT_ONCE = 6  # of them, after a pause; the others come back over the minute
OF_ANNOUNCER = 12  # dials to targets that never spoke, for one peer's announcements: four of three addresses
TOLD_SECONDS = 120.0  # that libp2p remembers where a peer is said to be
_MAX_SPOKEN = 4096  # targets that are remembered; the longest unheard of is forgotten first
_MAX_TOLD = 4096  # peers of which it is remembered what libp2p was told


class DialBudget:
    """Of one node, in one event loop. Counts `dial_budget`: dials that were not made."""

    def __init__(
        self, configured: Iterable[Address] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`configured` targets, which the owner of this node named, are free."""
        self.counters: Counter[str] = Counter()
        self._clock = clock
        # What libp2p was told, and until when it remembers: by peer and target.
        self._told: OrderedDict[str, dict[tuple[str, int], float]] = OrderedDict()
        self._targets = PeerBuckets(OF_TARGET / PERIOD, OF_TARGET, clock)
        self._hosts = PeerBuckets((OF_HOST - OF_HOST_AT_ONCE) / PERIOD, OF_HOST_AT_ONCE, clock)
        self._announcers = PeerBuckets(OF_ANNOUNCER / PERIOD, OF_ANNOUNCER, clock)
        self._configured = {(a.host, a.port) for a in configured}
        self._spoken: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._speaking_hosts: Counter[str] = Counter()

    def is_free(self, peer: str, addresses: Iterable[Address]) -> bool:
        """Whether a dial of `peer` at these reaches no target beyond those that spoke when they were dialled last."""
        return all(self._speaks(place) for place in (*_places(addresses), *self._told_of(peer)))

    def within(self, peer: str, addresses: Sequence[Address], announcer: str) -> list[Address]:
        """Those of `addresses` at which `peer` may be dialled now, for the word of `announcer`, a PeerID.

        Each counts as dialled, and so do those that libp2p was told of before. Where one of these may not be, none may.
        """
        told = self._told_of(peer)
        if not all(self._takes(place, announcer) for place in told):
            return []
        allowed = [
            a for a in addresses if (a.host, a.port) in told or self._takes((a.host, a.port), announcer)
        ]
        self._note_told(peer, allowed)
        return allowed

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

    def _note_told(self, peer: str, addresses: Iterable[Address]) -> None:
        until = self._clock() + TOLD_SECONDS
        told = self._told_of(peer) | dict.fromkeys(_places(addresses), until)
        set_newest(self._told, peer, told, _MAX_TOLD)

    def _told_of(self, peer: str) -> dict[tuple[str, int], float]:
        now = self._clock()
        return {place: until for place, until in self._told.get(peer, {}).items() if until > now}

    def _speaks(self, place: tuple[str, int]) -> bool:
        return place in self._spoken or place in self._configured

    def _takes(self, place: tuple[str, int], announcer: str) -> bool:
        if self._speaks(place):
            return True
        host, port = place
        within = (
            self._announcers.take(announcer, 1.0)
            and (host in self._speaking_hosts or self._hosts.take(host, 1.0))
            and self._targets.take(f"{host} {port}", 1.0)
        )
        self.counters["dial_budget"] += not within
        return within


def _places(addresses: Iterable[Address]) -> list[tuple[str, int]]:
    return [(a.host, a.port) for a in addresses]
