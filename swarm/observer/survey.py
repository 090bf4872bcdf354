"""One look at a swarm: find its nodes, read what they hold of the newest epochs, ask everybody for their figures."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import trio

from swarm import limits
from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.discovery.shard_reader import keys_in_order
from swarm.errors import DecodeError, FetchFailed
from swarm.exchange.framing import Status, check_status, encode_request
from swarm.exchange.peer_stats import NodeStats
from swarm.observer import dht, kad
from swarm.observer.framing import framed, frames, message
from swarm.observer.ipc import Done, Down, Figures, Offer, Report, Silent
from swarm.observer.lookup import Lookup
from swarm.wire.announcement import epoch_of
from swarm.wire.identity import peer_bytes
from swarm.wire.invite import nobody_answers
from swarm.wire.manifest import Manifest
from swarm.wire.multiaddr import Address, parse_known

if TYPE_CHECKING:  # libp2p is not for every process: hivemind and it cannot be imported together
    from swarm.observer.host import Host

WANTED = 256  # publishers to look for, and peers to ask for figures
_AT_ONCE = 8  # peers asked at a time
_READ_TIMEOUT = 20.0  # seconds for finding nodes and reading announcements
_ASK_TIMEOUT = 12.0  # seconds for asking all of them for figures
# How far back the first look reads, seconds: as long as announcements live where nobody chose otherwise.
_LOOK_BACK = 600.0
_GUIDES = 3  # nodes asked where another listens


class Survey:
    """Looks of one observer. Nodes that it met once are asked first in the next."""

    def __init__(self, host: Host, manifest: Manifest, bootstrap: Sequence[str], token: bytes) -> None:
        """`token` proves membership of a private swarm; empty in an open one."""
        self._host = host
        self._manifest = manifest
        self._bootstrap = parse_known(bootstrap)
        self._request = framed(encode_request(manifest.swarm_id, token))
        self._filter = AnnouncementFilter(manifest)
        self._announcements = AnnouncementStore(self._filter, own="")
        self._nodes: dict[str, None] = {}  # PeerIDs of DHT nodes that answered, in the order of meeting
        self._lan = not any(a.is_global for a in self._bootstrap)
        self._generator = random.Random()

    async def look(self, tell: Callable[[Report], None]) -> None:
        """Ends with Done, or with Down when no node of the swarm answers."""
        self._nodes = {peer: None for peer in self._nodes if self._host.connected(peer)}
        with trio.move_on_after(_READ_TIMEOUT):
            await self._read()
        if not self._nodes:
            return tell(Down(nobody_answers(self._bootstrap)))
        offers = self._announcements.live()[:WANTED]
        for announcement in offers:
            tell(Offer(announcement.encode()))
        peers = list(dict.fromkeys([*(a.peer for a in offers), *self._nodes]))[:WANTED]
        with trio.move_on_after(_ASK_TIMEOUT):
            await _each(peers, lambda peer: self._ask(peer, tell))
        tell(Done.now(len(self._nodes), dict(self._filter.refused)))

    async def _read(self) -> None:
        current, joining = epoch_of(time.time(), self._manifest.epoch_seconds), not self._nodes
        for keys in keys_in_order(
            self._manifest, current, _LOOK_BACK, joining=joining, generator=self._generator
        ):
            await self._find(keys)
            if len(self._announcements.live()) >= WANTED or not self._nodes:
                return

    async def _find(self, keys: Sequence[str]) -> None:
        """Walks to the nodes that hold `keys` and takes in what lies there."""
        ids = [dht.key_id(key) for key in keys]
        lookup = Lookup(ids, [*(a.peer or "" for a in self._bootstrap), *self._nodes])

        async def one(peer: str) -> None:
            try:
                for found in await self._find_at(peer, ids):
                    lookup.heard(found.nearest)
                    self._announcements.add(found.values)
            except (FetchFailed, DecodeError):
                lookup.failed(peer)
                self._nodes.pop(peer, None)

        while batch := lookup.next(_AT_ONCE):
            await _each(batch, one)

    async def _find_at(self, peer: str, ids: Sequence[bytes]) -> tuple[dht.Found, ...]:
        await self._reach(peer)
        request = dht.call(dht.FIND, dht.find_request(ids), peer_bytes(peer))
        envelope = await self._host.ask(peer, dht.FIND, request, message(dht.MAX_ANSWER))
        found = dht.find_answer(dht.answer(envelope), len(ids))
        self._nodes[peer] = None
        return found

    async def _ask(self, peer: str, tell: Callable[[Report], None]) -> None:
        try:
            await self._reach(peer)
            [(status, raw)] = await self._host.ask(
                peer, limits.STATS_PROTOCOL, self._request, frames(limits.MAX_STATS)
            )
            if check_status(status, raw) is not Status.OK:
                return tell(Silent(peer, "busy"))
            NodeStats.decode(raw)
            tell(Figures(peer, raw))
        except FetchFailed as error:
            tell(Silent(peer, str(error)))
        except DecodeError as error:
            tell(Silent(peer, f"refused: {error}"))

    async def _reach(self, peer: str) -> None:
        """Connects to `peer` where it says it listens, or else where others say it does. Raises FetchFailed."""
        if self._host.connected(peer):
            return
        own = self._places(peer)
        try:
            await self._host.connect(peer, own)
        except FetchFailed:
            guides = [node for node in self._nodes if self._host.connected(node)][:_GUIDES]
            reported = [address for guide in guides for address in await self._whereabouts(peer, guide)]
            await self._host.connect(
                peer, [a for a in dict.fromkeys(reported) if a not in own][: limits.MAX_ADDRESSES]
            )

    def _places(self, peer: str) -> list[Address]:
        """As the invite or the peer's own announcement has them."""
        invited = [a.without_peer() for a in self._bootstrap if a.peer == peer]
        announcement = self._announcements.find(peer)
        announced = parse_known(announcement.own_addresses) if announcement else ()
        return invited + [a for a in announced if self._may_dial(a)]

    async def _whereabouts(self, peer: str, guide: str) -> list[Address]:
        """Where `guide` says that `peer` listens."""
        raw = peer_bytes(peer)
        try:
            answer = await self._host.ask(guide, kad.PROTOCOL, kad.find_request(raw), message(kad.MAX_ANSWER))
            return [a for a in kad.find_answer(answer, raw) if self._may_dial(a)]
        except (FetchFailed, DecodeError):
            return []

    def _may_dial(self, address: Address) -> bool:
        """Private addresses only in a swarm on a LAN: strangers do not choose hosts of ours."""
        return self._lan or address.is_global


async def _each(peers: Sequence[str], task: Callable[[str], Awaitable[None]]) -> None:
    """Runs `task` for each peer, _AT_ONCE at a time."""
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def one(peer: str) -> None:
        async with limiter:
            await task(peer)

    async with trio.open_nursery() as nursery:
        for peer in peers:
            nursery.start_soon(one, peer)
