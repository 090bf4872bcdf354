"""Held places: an address takes no more of updates than its share of their places, also where others have nothing.

A fair draw alone shares what waits. Where honest peers have too little with a signal, who always has something fills
the update: twenty names at one address gave 0.8 of its external groups. So the places are shared between those that
deliver, whether or not they have something now, and what they leave stays empty. What an address leaves it may take
later: honest peers send in bursts, and groups that had to wait would grow stale.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swarm.sampling.newcomer_places import shares, subnet_of

# Of any host, and any subnet: with less a large swarm, of which most have nothing at a time, would leave most empty.
LEAST_PLACES = 1
SAVED_ROUNDS = 5.0  # for whose places a host may make up later
_ROUNDING = 1e-9  # thirds of places add up to whole ones


@dataclass(slots=True)
class _Account:
    """Of hosts or of subnets, by name."""

    saved: dict[str, float] = field(default_factory=dict)  # places, those of this round among them
    taken: Counter[str] = field(default_factory=Counter)  # in this round

    def begin(self, places: Mapping[str, float]) -> None:
        left = self.left()
        self.saved = {
            name: min(SAVED_ROUNDS * more, left.get(name, 0.0) + more) for name, more in places.items()
        }
        self.taken = Counter()

    def left(self) -> dict[str, float]:
        return {name: max(0.0, saved - self.taken[name]) for name, saved in self.saved.items()}

    def free(self, name: str) -> bool:
        return self.taken[name] < max(LEAST_PLACES, int(self.saved.get(name, 0.0) + _ROUNDING))


@dataclass(slots=True)
class HeldPlaces:
    """How many groups each host may give now, and each subnet."""

    hosts: _Account = field(default_factory=_Account)
    subnets: _Account = field(default_factory=_Account)

    def begin(self, sources: Mapping[str, str], count: int) -> None:
        """A round of `count` places, shared between the hosts of `sources` (by peer) as a fair draw shares them."""
        counted = shares(sources)
        total = sum(counted.values())
        of_host: defaultdict[str, float] = defaultdict(float)
        of_subnet: defaultdict[str, float] = defaultdict(float)
        for peer, share in counted.items():
            of_host[sources[peer]] += count * share / total
            of_subnet[subnet_of(sources[peer])] += count * share / total
        self.hosts.begin(of_host)
        self.subnets.begin(of_subnet)

    def free(self, host: str) -> bool:
        """Whether this host may give one more."""
        return self.hosts.free(host) and self.subnets.free(subnet_of(host))

    def take(self, host: str) -> None:
        """It gives one more."""
        self.hosts.taken[host] += 1
        self.subnets.taken[subnet_of(host)] += 1

    def snapshot(self) -> dict[str, Any]:
        """Plain JSON-able data for the checkpoint: what is left."""
        return {"hosts": self.hosts.left(), "subnets": self.subnets.left()}

    def restore(self, data: dict[str, Any]) -> None:
        """Takes over what `snapshot` gave, straight or through JSON."""
        self.hosts, self.subnets = _Account(data.get("hosts", {})), _Account(data.get("subnets", {}))
