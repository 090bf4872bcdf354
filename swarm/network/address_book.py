"""The address book holds the peers that a node may join through and dial: configured, met, near or remembered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from swarm.discovery.announcement_store import AnnouncementStore
from swarm.discovery.mdns_client import MdnsClient
from swarm.errors import FetchFailed
from swarm.exchange.framing import Dial, Stream
from swarm.network.dial_budget import DialBudget
from swarm.network.ipc import DhtSettings
from swarm.network.p2p_daemon import Daemon
from swarm.network.peer_cache import PeerCache
from swarm.sampling.newcomer_places import IsKnown, nobody_is_known, subnet_of
from swarm.wire.announcement import Announcement
from swarm.wire.multiaddr import Address, parse_known

_MAX_JOIN = 8  # peers of each kind asked when the own routing table is empty
_OF_SUBNET = 2  # of them that gave nothing yet, where they are not the own machine's or network's


class AddressBook:
    """Of one node; `addresses` are its own, without /p2p, as its daemon last named them."""

    def __init__(
        self,
        settings: DhtSettings,
        swarm: str,
        peer: str,
        announcements: AnnouncementStore,
        is_known: IsKnown = nobody_is_known,
    ) -> None:
        """`swarm` is its id and `peer` the PeerID of this node; `is_known` says who gave it something good."""
        self.addresses: tuple[Address, ...] = ()
        self._settings, self._swarm, self._peer, self._announcements = settings, swarm, peer, announcements
        self._is_known = is_known
        self._cache = PeerCache(settings.peer_cache) if settings.peer_cache else None
        self._mdns: MdnsClient | None = None
        self._connected: set[Address] = set()  # found by mDNS
        self.budget = DialBudget(parse_known(settings.bootstrap))

    @property
    def named(self) -> list[Address]:
        """The own addresses, each with the PeerID."""
        return [replace(a, peer=self._peer) for a in self.addresses]

    def bootstrap_candidates(self) -> list[Address]:
        """Peers to join through, never itself: as configured, met, or known from an earlier run.

        Those met are as good as the configured ones, which may be gone or hostile by now.
        """
        cached = self._cache.addresses if self._cache else ()
        near = self._mdns.found if self._mdns else ()
        configured, met = parse_known(self._settings.bootstrap), (*self._met_known(), *self._met_others())
        known = dict.fromkeys([*configured, *met, *near[:_MAX_JOIN], *cached[:_MAX_JOIN]])
        return [a for a in known if a.peer != self._peer]

    def may_dial(self, address: str) -> bool:
        """Private addresses only where the own are private: strangers do not choose hosts of our LAN."""
        configured = parse_known((*self._settings.bootstrap, *self._settings.announce))
        lan = not any(a.is_global for a in (*configured, *self.addresses))
        return lan or all(a.is_global for a in parse_known([address]))

    def dialler(self, daemon: Daemon, protocol: str, announcer: str = "") -> Dial:
        """Opens streams of `protocol`, to addresses that may be dialled only, within the dial budget.

        Dials count for the `announcer`, the PeerID on whose word they are made; left out, for the dialled peer itself.
        """

        async def dial(peer: str, addresses: Sequence[str]) -> Stream:
            allowed = parse_known([a for a in addresses if self.may_dial(a)])
            dialled = list(allowed)
            if not self.budget.is_free(peer, allowed):
                # Over a connection that there is nothing is dialled; told of more addresses, p2pd would keep them.
                linked = await daemon.is_connected(peer)
                dialled = [] if linked else self.budget.within(peer, allowed, announcer or peer)
                if not (dialled or linked):  # without any p2pd would go and look for others
                    raise FetchFailed("its addresses were dialled in vain too often of late")
            try:
                stream, reached = await daemon.dial(protocol, peer, [str(a) for a in dialled])
            except FetchFailed:
                self.budget.note_failed(dialled)
                raise
            if reached:
                # The peer may have opened the connection, from a port that nobody can dial.
                self.budget.note_spoke([reached, *(a for a in allowed if a.host == reached.host)])
            return stream

        return dial

    def places(self, announcements: Iterable[Announcement]) -> list[Address]:
        """Where their makers say that they listen, as far as this node dials there."""
        met = [
            replace(parse_known([text])[0], peer=a.peer) for a in announcements for text in a.own_addresses
        ]
        return [a for a in met if self.may_dial(str(a.without_peer()))]

    async def connect(self, daemon: Daemon, addresses: Sequence[Address]) -> None:
        """Makes the nodes there and this one know each other, within the dial budget."""
        await daemon.connect([a for a in addresses if self.budget.within(a.peer or "", [a], a.peer or "")])

    async def maintain(self, daemon: Daemon) -> None:
        """Connects to new peers of the local network where that is asked for, and writes down who was met."""
        if self._settings.lan:
            await self._connect_neighbours(daemon)
        if self._cache:
            self._cache.remember(self._met_known(), self._met_others())

    def close(self) -> None:
        if self._mdns:
            self._mdns.close()

    async def _connect_neighbours(self, daemon: Daemon) -> None:
        if self._mdns is None:
            self._mdns = MdnsClient(self._swarm, self.named)
        fresh = [a for a in self._mdns.found if a not in self._connected]
        self._connected.update(fresh)
        await self.connect(daemon, fresh)

    def _met_known(self) -> list[Address]:
        """Where known peers listen, as they announce it now."""
        return self.places(a for a in self._announcements.live() if self._is_known(a.peer))[:_MAX_JOIN]

    def _met_others(self) -> list[Address]:
        """Where other publishers listen: those that were reached first, and few of a subnet.

        Announcing costs nothing, so the newest alone would be whoever announces most.
        """
        found = self.places(a for a in self._announcements.live() if not self._is_known(a.peer))
        subnets: Counter[str] = Counter()
        chosen: list[Address] = []
        for address in sorted(found, key=lambda a: not self.budget.spoke(a)):
            subnet = subnet_of(address.host)
            if subnets[subnet] < _OF_SUBNET or not address.is_global:
                chosen.append(address)
                subnets[subnet] += 1
        return chosen[:_MAX_JOIN]
