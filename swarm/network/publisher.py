"""The publisher keeps the newest own body and signs announcements of where others get it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections import Counter
from contextlib import suppress

from swarm.discovery.key_watch import KeyWatch
from swarm.discovery.republish import draw_phase, is_due, next_moment, republished
from swarm.errors import TransportDown
from swarm.exchange.body_exchange import BodyExchange
from swarm.exchange.push_mirror import Mirrors
from swarm.limits import CLOCK_SKEW, PUSH_PROTOCOL
from swarm.network.address_book import AddressBook
from swarm.network.ipc import DhtSettings
from swarm.network.p2p_daemon import DAEMON_ERRORS, Daemon
from swarm.wire.announcement import Announcement, Summary, epoch_of, shard_of
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import resolved, widest

log = logging.getLogger(__name__)

_REPUBLISH_TIMEOUT = 10.0  # seconds


class Publisher:
    """Of bodies it keeps the newest; `hidden` is whether it lives as one that others cannot dial."""

    def __init__(
        self,
        settings: DhtSettings,
        identity: Identity,
        membership: Membership,
        exchange: BodyExchange,
        address_book: AddressBook,
    ) -> None:
        self.hidden = bool(settings.client_mode)
        self.keys = KeyWatch(identity.peer_id, time.time())
        self.counters: Counter[str] = Counter()
        self._settings, self._identity, self._membership = settings, identity, membership
        self._exchange, self._address_book = exchange, address_book
        self._mirrors = Mirrors(membership, random.Random())
        self._latest: tuple[bytes, int, Summary] | None = None  # digest, size, summary
        self._last_created = 0.0
        self._phase = draw_phase(random.Random())

    @property
    def newest(self) -> Summary | None:
        """Of the own newest body."""
        return self._latest[2] if self._latest else None

    def keep(self, body: bytes, summary: Summary) -> None:
        """Makes `body` the one that is announced."""
        digest = hashlib.sha256(body).digest()
        self.keys.note_made(digest)
        self._exchange.bodies.put_own(digest, body)
        self._latest = digest, len(body), summary

    async def announce(self, daemon: Daemon) -> Announcement:
        """Raises TransportDown, and DecodeError when others would refuse the announcement."""
        assert self._latest is not None
        digest, size, summary = self._latest
        manifest, peer = self._settings.manifest, self._identity.peer_id
        created = self._last_created = _later(self._last_created, time.time())
        epoch = epoch_of(created, manifest.epoch_seconds)
        announcement = Announcement(
            swarm=manifest.swarm_id,
            epoch=epoch,
            depth=manifest.shard_depth,
            shard=shard_of(peer, epoch, manifest.shard_depth),
            peer=peer,
            created=created,
            expires=created + self._settings.lifetime,
            digest=digest,
            size=size,
            summary=summary,
            addresses=await self._reply_addresses(daemon, digest),
            token=self._membership.token,
        ).sign(self._identity)
        self._exchange.offer = announcement
        if not await daemon.store(announcement):
            raise TransportDown("no node of the swarm took the announcement; fetches still spread it")
        self.counters["announced"] += 1
        return announcement

    async def stay_present(self, daemon: Daemon) -> None:
        """Announces the newest body once more whenever an epoch would pass without this node. Until cancelled."""
        length, phase = self._settings.manifest.epoch_seconds, self._phase
        while True:
            await asyncio.sleep(next_moment(time.time(), length, phase) - time.time())
            newest, now = self._exchange.offer, time.time()
            if newest is None or not is_due(newest, now, length, phase):
                continue
            self._exchange.offer = again = republished(newest, now, length).sign(self._identity)
            with suppress(*DAEMON_ERRORS):  # TimeoutError is an OSError; a dead daemon is noticed elsewhere
                async with asyncio.timeout(_REPUBLISH_TIMEOUT):
                    self.counters["republished"] += await daemon.store(again)

    async def _reply_addresses(self, daemon: Daemon, digest: bytes) -> tuple[str, ...]:
        """Where others get the own body: here, or from the mirrors of a node that cannot be dialled."""
        address_book = self._address_book
        if not self.hidden:
            return tuple(map(str, widest(await resolved(address_book.addresses))))
        body = self._exchange.bodies.get(digest)
        assert body is not None  # the newest own body is never dropped
        candidates = [
            a for a in address_book.bootstrap_candidates() if address_book.may_dial(str(a.without_peer()))
        ]
        mirrors = await self._mirrors.keep(body, candidates, address_book.dialler(daemon, PUSH_PROTOCOL))
        if not mirrors:
            self.counters["no_mirror"] += 1
            log.warning("no peer keeps the body of this node, which others cannot dial: few will get it")
        return tuple(map(str, await resolved(mirrors)))


def _later(last: float, now: float) -> float:
    """When to have made an announcement after that of `last`: of two records of one peer the later one stays.

    `last` is forgotten where the clock was set back by so much that peers would refuse what is later.
    """
    return now if last > now + CLOCK_SKEW else max(now, last + 0.001)
