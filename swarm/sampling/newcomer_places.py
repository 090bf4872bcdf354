"""Fair draws: names are free, addresses are not, so places are shared between the networks that peers speak from.

An address counts as one peer and a subnet as four at most, however many identities stand behind them (gossipsub v1.1
calls it the colocation factor). Four fifths of the places are for peers with a record, while there
are any; newcomers share the rest, and each kind takes what the other leaves. Where both kinds speak from one address
they count together: newcomers first, so that names with a record and fresh ones do not get a share each.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from swarm.sampling.held_places import HeldPlaces

# Peers that an address, and a subnet, count as at most. With more than one, a second name brings its owner more: six
# names at one address took 0.34 of what each of three nodes trained on, where one peer's share is a third.
IDENTITIES_OF_ADDRESS = 1.0
IDENTITIES_OF_SUBNET = 4.0
# Of the places, for peers with a record. With three quarters, names on one address that were never used twice had the
# whole quarter of newcomers. Of an update's four places newcomers have one in four updates of five.
KNOWN_SHARE = 0.8
# Whether a peer, by its PeerID, gave this node something good of late; others are newcomers.
IsKnown = Callable[[str], bool]
_SUBNET_BITS = {4: 24, 6: 48}  # by IP version: what one customer is commonly given


def nobody_is_known(peer: str) -> bool:
    """The `IsKnown` of a node that keeps no records."""
    return False


@lru_cache(maxsize=8192)
def subnet_of(host: str) -> str:
    """The network that an address belongs to; a host that is no IP address is a network of its own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, _SUBNET_BITS[address.version]), strict=False))


def shares(hosts: Mapping[str, str], before: Iterable[str] = ()) -> dict[str, float]:
    """Of each peer, by the host that it speaks from: how many peers it counts as, at most 1.

    Peers of no known host ("") count as one another's neighbours: they share one address. `before`: hosts of peers that
    count first, and leave less.
    """
    of_host, counted_before = Counter(hosts.values()), Counter(before)
    first = {host: min(IDENTITIES_OF_ADDRESS, count) for host, count in counted_before.items()}
    weight = {host: min(IDENTITIES_OF_ADDRESS - first.get(host, 0), count) for host, count in of_host.items()}
    of_subnet, of_subnet_before = _by_subnet(weight), _by_subnet(first)
    found = {}
    for peer, host in hosts.items():
        subnet = subnet_of(host)
        room = max(0.0, IDENTITIES_OF_SUBNET - of_subnet_before[subnet])
        crowded = room / of_subnet[subnet] if of_subnet[subnet] > room else 1.0
        found[peer] = crowded * weight[host] / of_host[host]
    return found


def _by_subnet(weights: Mapping[str, float]) -> defaultdict[str, float]:
    of_subnet: defaultdict[str, float] = defaultdict(float)
    for host, counted in weights.items():
        of_subnet[subnet_of(host)] += counted
    return of_subnet


def fair_select(
    peers: Sequence[str],
    hosts: Mapping[str, str],
    is_known: IsKnown,
    count: int,
    generator: np.random.Generator,
    held: HeldPlaces | None = None,
) -> list[int]:
    """At most `count` positions of `peers`, who stand there once for each thing that they offer.

    `hosts` has the address of each, "" where none is known. Newcomers stand between the others, so that whoever
    takes the first few only is fair as well. With `held` places nobody takes what those who have them leave empty:
    no host goes beyond its own, and newcomers not beyond their fifth.
    """
    waiting: dict[str, list[int]] = defaultdict(list)
    for index in generator.permutation(len(peers)):
        waiting[peers[index]].append(int(index))
    reserved = int(KNOWN_SHARE * count + generator.random())  # rounded at random: of a single place too
    old, new = {p for p in waiting if is_known(p)}, {p for p in waiting if not is_known(p)}
    draw = _Draw(waiting, hosts, generator, held)
    of_old = draw.take(old, reserved, [hosts[peer] for peer in new])
    of_new = draw.take(new, count - reserved)
    chosen = _interleaved(of_old, of_new)
    for kind in (old, new) if held is None else (old,):
        chosen += draw.take(kind, count - len(chosen))
    return chosen


@dataclass(frozen=True, slots=True)
class _Draw:
    """What is left to draw from: positions by peer."""

    waiting: dict[str, list[int]]
    hosts: Mapping[str, str]
    generator: np.random.Generator
    held: HeldPlaces | None

    def take(self, kind: Set[str], places: int, before: Sequence[str] = ()) -> list[int]:
        """Groups of peers of one kind, out of `waiting`: nobody gives a second before each was in the draw once.

        `before`: hosts that the other kind counts at; who has no share left beside it gives none.
        """
        chosen: list[int] = []
        while places > len(chosen) and (left := {p: self.hosts[p] for p in sorted(kind) if self._free(p)}):
            weights = {peer: share for peer, share in shares(left, before).items() if share}
            if not weights:
                break
            drawn = _systematic(weights, places - len(chosen), self.generator)
            chosen += [self._give(peer) for peer in drawn if self._free(peer)]
        return chosen

    def _free(self, peer: str) -> bool:
        return bool(self.waiting[peer]) and (self.held is None or self.held.free(self.hosts[peer]))

    def _give(self, peer: str) -> int:
        if self.held is not None:
            self.held.take(self.hosts[peer])
        return self.waiting[peer].pop()


def _systematic(weights: Mapping[str, float], count: int, generator: np.random.Generator) -> list[str]:
    """At most `count` distinct peers, each with a chance proportional to its share, 1 at most (systematic sampling).

    Drawing one after the other would not do: those of a crowded host gain as others leave the draw.
    """
    import numpy as np  # views load this module, and draw nothing

    chances = _chances(weights, count)
    order = [str(peer) for peer in generator.permutation(sorted(weights))]
    edges = np.cumsum([chances[peer] for peer in order])
    points = np.arange(round(float(edges[-1]))) + generator.random()
    return [order[int(place)] for place in np.searchsorted(edges, points[points < edges[-1]], side="right")]


def _interleaved(more: Sequence[int], fewer: Sequence[int]) -> list[int]:
    """Both in their order, spread evenly over one another."""
    keyed = [
        ((place + 1) / (len(part) + 1), index) for part in (more, fewer) for place, index in enumerate(part)
    ]
    return [index for _, index in sorted(keyed)]


def _chances(weights: Mapping[str, float], count: int) -> dict[str, float]:
    """Proportional to the weights, each 1 at most, with the sum `count` or the number of peers if that is less."""
    chances: dict[str, float] = {}
    left, places = dict(weights), min(count, len(weights))
    while left:
        total = sum(left.values())
        sure = [peer for peer, weight in left.items() if weight * (places - len(chances)) >= total]
        if not sure:
            return chances | {p: w * (places - len(chances)) / total for p, w in left.items()}
        for peer in sure:
            chances[peer] = 1.0
            del left[peer]
    return chances
