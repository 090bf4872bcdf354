"""Whom a node may join through and dial: peers as configured, met, near, or known from an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from swarm.discovery.announcement_store import AnnouncementStore
from swarm.discovery.mdns_client import MdnsClient
from swarm.exchange.framing import Dial, Stream
from swarm.network.ipc import DhtSettings
from swarm.network.p2p_daemon import Daemon
from swarm.network.peer_cache import PeerCache
from swarm.wire.multiaddr import Address, parse_known

_MAX_JOIN = 8  # peers greeted when the own routing table is empty


class AddressBook:
    """Of one node; `addresses` are its own, without /p2p, as its daemon last told them."""

    def __init__(self, settings: DhtSettings, swarm: str, peer: str, directory: AnnouncementStore) -> None:
        """`swarm` is its id and `peer` the PeerID of this node."""
        self.addresses: tuple[Address, ...] = ()
        self._settings, self._swarm, self._peer, self._directory = settings, swarm, peer, directory
        self._cache = PeerCache(settings.peer_cache) if settings.peer_cache else None
        self._neighbours: MdnsClient | None = None
        self._greeted: set[Address] = set()  # neighbours

    @property
    def named(self) -> list[Address]:
        """The own addresses, each with the PeerID."""
        return [replace(a, peer=self._peer) for a in self.addresses]

    def joinable(self) -> list[Address]:
        """Peers to join through, never itself: as configured, met, or known from an earlier run.

        Those met are as good as the configured ones, which may be gone by now.
        """
        cached = self._cache.addresses if self._cache else ()
        near = self._neighbours.found if self._neighbours else ()
        told = parse_known(self._settings.bootstrap)
        known = dict.fromkeys([*told, *self._met(), *near[:_MAX_JOIN], *cached[:_MAX_JOIN]])
        return [a for a in known if a.peer != self._peer]

    def may_dial(self, address: str) -> bool:
        """Private addresses only where the own are private: strangers do not choose hosts of our LAN."""
        configured = parse_known((*self._settings.bootstrap, *self._settings.announce))
        lan = not any(a.is_global for a in (*configured, *self.addresses))
        return lan or all(a.is_global for a in parse_known([address]))

    def dialler(self, daemon: Daemon, protocol: str) -> Dial:
        """Opens streams of `protocol`, to addresses that may be dialled only."""

        async def dial(peer: str, addresses: Sequence[str]) -> Stream:
            return await daemon.dial(protocol, peer, [a for a in addresses if self.may_dial(a)])

        return dial

    async def tend(self, daemon: Daemon) -> None:
        """Greets new neighbours where the local network is asked, and writes down who was met."""
        if self._settings.lan:
            await self._meet_neighbours(daemon)
        if self._cache:
            self._cache.remember(self._met())

    def close(self) -> None:
        if self._neighbours:
            self._neighbours.close()

    async def _meet_neighbours(self, daemon: Daemon) -> None:
        if self._neighbours is None:
            self._neighbours = MdnsClient(self._swarm, self.named)
        fresh = [a for a in self._neighbours.found if a not in self._greeted]
        self._greeted.update(fresh)
        await daemon.join(fresh)

    def _met(self) -> list[Address]:
        """Where publishers of live announcements listen."""
        met = [
            replace(parse_known([t])[0], peer=a.peer) for a in self._directory.live() for t in a.own_addresses
        ]
        return [a for a in met if self.may_dial(str(a.without_peer()))][:_MAX_JOIN]
