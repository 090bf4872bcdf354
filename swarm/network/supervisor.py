"""A node's place in the swarm: keeps a daemon up, announces, looks round and fetches.

Lives in the transport's own process. The daemon may die or never come up: calls then raise TransportDown at
once, and `run` goes on trying.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.discovery.shard_reader import ShardReader
from swarm.errors import TransportDown
from swarm.exchange.autonat import DialBackServer, Reachability, find_reach
from swarm.exchange.fetch import BodyExchange
from swarm.exchange.peer_stats import NodeStats, StatsServer
from swarm.exchange.push_mirror import MirrorServer
from swarm.limits import FETCH_PROTOCOL, PUSH_PROTOCOL, REACH_PROTOCOL, STATS_PROTOCOL
from swarm.network.address_book import AddressBook
from swarm.network.ipc import DhtSettings
from swarm.network.p2p_daemon import DAEMON_ERRORS, Daemon
from swarm.network.publisher import Publisher
from swarm.wire.announcement import Announcement, Summary, epoch_of
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address, parse_known

log = logging.getLogger(__name__)

_STEADY = 60.0  # seconds up after which a failure counts as the first again
_MAX_BACK_OFF = 30.0
_REACH_PERIOD = 60.0  # seconds between questions for reachability, until one is answered
_MAX_RETURNED = 1024  # announcements by one call: 1 MiB at most


class PeerSupervisor:
    def __init__(self, settings: DhtSettings, key: Path) -> None:
        identity = Identity.load_or_create(key)
        self.detail = "starting"
        self._settings = settings
        self._key = key
        self._gate = AnnouncementFilter(settings.manifest)
        self._directory = AnnouncementStore(self._gate, identity.peer_id)
        membership = Membership.of(settings.manifest, settings.secret, identity.peer_id)
        self._membership = membership
        self._exchange = BodyExchange(membership, settings.serve, self._directory)
        self._contacts = AddressBook(settings, membership.swarm, identity.peer_id, self._directory)
        self._publisher = Publisher(settings, identity, membership, self._exchange, self._contacts)
        self._mirror_desk = MirrorServer(membership, self._exchange.mirrored)
        self._reach_desk = DialBackServer(membership)
        self._reach = Reachability.UNKNOWN
        self._reach_due = 0.0  # monotonic seconds
        self._stats_desk = StatsServer(membership.swarm, self._stats, membership.admits)
        self._started = time.monotonic()
        self._counters: Counter[str] = Counter()
        self._daemon: Daemon | None = None
        self._lookout = ShardReader(settings.manifest, self._directory, settings.lifetime, random.Random())

    async def run(self) -> None:
        """Keeps a daemon running until cancelled."""
        failures = 0
        try:
            while True:
                started = time.monotonic()
                await self._live_once(fixed_port=failures < 3)
                if _cancelled():
                    raise asyncio.CancelledError
                log.warning("network down: %s", self.detail)
                failures = 0 if time.monotonic() - started > _STEADY else failures + 1
                await asyncio.sleep(min(_MAX_BACK_OFF, 0.25 * 2**failures) * random.uniform(0.5, 1.0))
        finally:
            self._contacts.close()

    def keep(self, body: bytes, summary: Summary) -> None:
        """Makes `body` the one that is announced, now or when the daemon is up again."""
        self._publisher.keep(body, summary)

    async def announce(self) -> Announcement:
        """Raises TransportDown, and DecodeError when others would refuse the announcement."""
        return await self._publisher.announce(self._up())

    async def announcements(self, want: int, declined: Sequence[Announcement] = ()) -> list[Announcement]:
        daemon = self._up()
        for announcement in declined:
            self._lookout.take(announcement)
        for keys in self._lookout.look(epoch_of(time.time(), self._settings.manifest.epoch_seconds), want):
            self._lookout.learn(await daemon.read(keys))
        return self._lookout.candidates(want)[:_MAX_RETURNED]

    async def fetch(self, announcement: Announcement) -> bytes:
        """Raises TransportDown, FetchFailed."""
        dial = self._contacts.dialler(self._up(), FETCH_PROTOCOL)
        self._lookout.take(announcement)
        return await self._exchange.fetch(announcement, dial)

    def state(self) -> dict[str, Any]:
        refused = {f"refused_{reason}": n for reason, n in self._gate.refused.items()}
        return {
            "healthy": self._daemon is not None,
            "detail": "" if self._daemon else self.detail,
            "addresses": list(map(str, self._contacts.named)) if self._daemon else [],
            "reach": self._reach,
            "peers_seen": len(self._directory.live()),
            "counters": {
                **self._counters,
                **self._publisher.counters,
                **self._exchange.counters,
                **self._mirror_desk.counters,
                **self._stats_desk.counters,
                **refused,
            },
        }

    def _stats(self) -> NodeStats:
        state, up = self.state(), time.monotonic() - self._started
        return NodeStats.of(up, self._publisher.newest, state["peers_seen"], state["counters"])

    async def _live_once(self, fixed_port: bool) -> None:
        """From the start of a daemon to its end; leaves the reason in `detail`."""
        settings = replace(self._settings, client_mode=self._publisher.hidden)
        if fixed_port:
            settings = replace(settings, listen=self._listen())
        bootstrap = list(map(str, self._contacts.joinable())) if settings.bootstrap else []
        try:
            daemon = await Daemon.start(settings, self._key, bootstrap, self._gate)
        except DAEMON_ERRORS as error:
            self.detail = self._readable(error)
            return
        try:
            await daemon.serve(FETCH_PROTOCOL, self._exchange.serve)
            await daemon.serve(PUSH_PROTOCOL, self._mirror_desk.serve)
            await daemon.serve_seen(REACH_PROTOCOL, self._reach_desk.serve)
            await daemon.serve(STATS_PROTOCOL, self._stats_desk.serve)
            self._contacts.addresses = await daemon.addresses()
            self._lookout.rejoin()
            await daemon.join(self._contacts.joinable())
            await self._find_reach(daemon)
            self._daemon = daemon
            self._counters["starts"] += 1
            if self._publisher.newest:
                await self._publisher.announce(daemon)
            renewing = asyncio.create_task(self._publisher.stay_present(daemon))
            try:
                self.detail = await daemon.watch(self._tend)
            finally:
                renewing.cancel()
        except (*DAEMON_ERRORS, TransportDown) as error:
            self.detail = f"lost the network daemon: {str(error) or type(error).__name__}"
        finally:
            self._daemon = None
            await daemon.stop()

    async def _tend(self) -> None:
        """Now and then: own addresses change, and a node that lost all others has to look for them."""
        if self._daemon:
            self._contacts.addresses = await self._daemon.addresses()
            if self._daemon.alone:
                await self._daemon.join(self._contacts.joinable())
            await self._find_reach(self._daemon)
            await self._contacts.tend(self._daemon)

    async def _find_reach(self, daemon: Daemon) -> None:
        """Asks peers to dial back, until some did. A node that is hidden, and was not told so, starts anew as such."""
        if (
            self._reach is not Reachability.UNKNOWN
            or not self._contacts.addresses
            or time.monotonic() < self._reach_due
        ):
            return
        self._reach_due = time.monotonic() + _REACH_PERIOD
        told = parse_known(self._settings.announce) or self._contacts.addresses
        dial = self._contacts.dialler(daemon, REACH_PROTOCOL)
        ports = sorted({a.port for a in told})
        self._reach = await find_reach(self._contacts.joinable(), self._membership, ports, dial)
        if self._reach is Reachability.HIDDEN and self._settings.client_mode is None:
            self._publisher.hidden = True
            raise TransportDown(
                "peers cannot dial this node: it goes on as one that leaves bodies with mirrors"
            )

    def _up(self) -> Daemon:
        if self._daemon is None:
            raise TransportDown(self.detail)
        return self._daemon

    def _listen(self) -> tuple[str, ...]:
        """The listen addresses with the ports of the last start, so that a restart keeps invites valid."""
        ports = {a.family: a.port for a in self._contacts.addresses} if not self._settings.announce else {}
        wanted = [Address.parse(a) for a in self._settings.listen]
        return tuple(str(a if a.port else replace(a, port=ports.get(a.family, 0))) for a in wanted)

    def _readable(self, error: BaseException) -> str:
        cause = str(error) or type(error).__name__
        hosts = ", ".join(f"{a.host}:{a.port}" for a in parse_known(self._settings.bootstrap))
        if hosts and "bootstrap" in cause:
            return f"no bootstrap peer answers at {hosts}: check that it runs and that the address is right"
        if "address already in use" in cause:
            return f"cannot listen on {', '.join(self._settings.listen)}: another program has the port"
        return f"the network daemon did not start: {cause[:300]}"


def _cancelled() -> bool:
    """Whether this task was told to end. A daemon that fails in the same moment hides that: asyncio's `wait_for`,
    which hivemind starts daemons with, then raises the daemon's error alone."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
