"""Held places: an address takes no more of an update than its share of the places, also where others have nothing.

A fair draw alone shares what waits. Where honest peers have too little with a signal, who always has something fills
the update: twenty names at one address gave 0.8 of its external groups. So the places are shared between those that
known peers deliver from, whether or not they have something now; what they leave stays empty.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swarm.sampling.newcomer_places import shares, subnet_of

if TYPE_CHECKING:
    import numpy as np

# Of any host, and any subnet: with less a large swarm, of which most have nothing at a time, would leave most empty.
LEAST_PLACES = 1


@dataclass(slots=True)
class HeldPlaces:
    """How many groups of one update each host may still give, and each subnet."""

    of_host: Mapping[str, int]
    of_subnet: Mapping[str, int]
    taken: Counter[str] = field(default_factory=Counter)  # by host
    taken_of_subnet: Counter[str] = field(default_factory=Counter)

    @classmethod
    def among(cls, sources: Mapping[str, str], count: int, generator: np.random.Generator) -> HeldPlaces:
        """`count` places, between the hosts of `sources` (by peer) as a fair draw shares them, rounded at random.

        Together they have `count`, so that nothing stays empty where all of them have enough.
        """
        weights: defaultdict[str, float] = defaultdict(float)
        for peer, share in shares(sources).items():
            weights[sources[peer]] += share
        total, offset, edge, before = sum(weights.values()), generator.random(), 0.0, 0
        of_host: dict[str, int] = {}
        of_subnet: Counter[str] = Counter()
        for host in map(str, generator.permutation(sorted(weights))):
            edge += count * weights[host] / total
            of_host[host] = (upto := int(edge + offset)) - before
            of_subnet[subnet_of(host)] += of_host[host]
            before = upto
        return cls(of_host, of_subnet)

    def free(self, host: str) -> bool:
        """Whether this host may give one more."""
        subnet = subnet_of(host)
        of_host = max(LEAST_PLACES, self.of_host.get(host, 0))
        of_subnet = max(LEAST_PLACES, self.of_subnet.get(subnet, 0))
        return self.taken[host] < of_host and self.taken_of_subnet[subnet] < of_subnet

    def take(self, host: str) -> None:
        """It gives one more."""
        self.taken[host] += 1
        self.taken_of_subnet[subnet_of(host)] += 1
