"""A node's place in the swarm: keeps a daemon up, announces, looks round and fetches.

Lives in the transport's own process. The daemon may die or never come up: calls then raise TransportDown at
once, and `run` goes on trying.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swarm.addresses import Address, parse_known, widest
from swarm.control import DhtSettings
from swarm.daemon import DAEMON_ERRORS, Daemon
from swarm.directory import Directory
from swarm.errors import TransportDown
from swarm.fetch import Dial, Exchange, Stream
from swarm.gate import Gate
from swarm.identity import Identity
from swarm.limits import FETCH_PROTOCOL, PUSH_PROTOCOL, REACH_PROTOCOL, STATS_PROTOCOL
from swarm.lookout import needs_look, places
from swarm.membership import Membership
from swarm.mirror import MirrorDesk, Mirrors
from swarm.neighbours import Neighbours
from swarm.peercache import PeerCache
from swarm.reach import Reach, ReachDesk, find_reach
from swarm.record import Announcement, Summary, epoch_of, shard_of
from swarm.stats import NodeStats, StatsDesk

log = logging.getLogger(__name__)

_STEADY = 60.0  # seconds up after which a failure counts as the first again
_MAX_BACK_OFF = 30.0
_MAX_JOIN = 8  # peers greeted when the own routing table is empty
_REACH_PERIOD = 60.0  # seconds between questions for reachability, until one is answered
_MAX_RETURNED = 1024  # announcements by one call: 1 MiB at most


class Network:
    def __init__(self, settings: DhtSettings, key: Path) -> None:
        identity = Identity.load_or_create(key)
        self.detail = "starting"
        self._settings = settings
        self._key = key
        self._identity = identity
        self._gate = Gate(settings.manifest)
        self._directory = Directory(self._gate, identity.peer_id)
        membership = Membership.of(settings.manifest, settings.secret, identity.peer_id)
        self._membership = membership
        self._exchange = Exchange(membership, settings.serve, self._directory)
        self._mirror_desk = MirrorDesk(membership, self._exchange.mirrored)
        self._reach_desk = ReachDesk(membership)
        self._reach = Reach.UNKNOWN
        self._reach_due = 0.0  # monotonic seconds
        self._hidden = bool(settings.client_mode)  # lives as one that others cannot dial
        self._mirrors = Mirrors(membership, random.Random())
        self._cache = PeerCache(settings.peer_cache) if settings.peer_cache else None
        self._neighbours: Neighbours | None = None
        self._greeted: set[Address] = set()  # neighbours
        self._stats_desk = StatsDesk(membership.swarm, self._stats, membership.admits)
        self._started = time.monotonic()
        self._counters: Counter[str] = Counter()
        self._daemon: Daemon | None = None
        self._addresses: tuple[Address, ...] = ()
        self._latest: tuple[bytes, int, Summary] | None = None  # digest, size, summary of the own newest body
        self._last_created = 0.0
        self._looked_round = False
        self._generator = random.Random()

    async def run(self) -> None:
        """Keeps a daemon running until cancelled."""
        failures = 0
        try:
            while True:
                started = time.monotonic()
                await self._live_once(fixed_port=failures < 3)
                log.warning("network down: %s", self.detail)
                failures = 0 if time.monotonic() - started > _STEADY else failures + 1
                await asyncio.sleep(min(_MAX_BACK_OFF, 0.25 * 2**failures) * random.uniform(0.5, 1.0))
        finally:
            if self._neighbours:
                self._neighbours.close()

    def keep(self, body: bytes, summary: Summary) -> None:
        """Makes `body` the one that is announced, now or when the daemon is up again."""
        digest = hashlib.sha256(body).digest()
        self._exchange.bodies.put_own(digest, body)
        self._latest = digest, len(body), summary

    async def announce(self) -> Announcement:
        """Raises TransportDown, and DecodeError when others would refuse the announcement."""
        return await self._announce(self._up())

    async def announcements(self, want: int) -> list[Announcement]:
        daemon = self._up()
        current = epoch_of(time.time(), self._settings.manifest.epoch_seconds)
        if needs_look(self._directory.live(), current, want):
            await self._look_round(daemon, current, want)
        return self._directory.live()[:_MAX_RETURNED]

    async def fetch(self, announcement: Announcement) -> bytes:
        """Raises TransportDown, FetchFailed."""
        return await self._exchange.fetch(announcement, self._dialler(self._up(), FETCH_PROTOCOL))

    def state(self) -> dict[str, Any]:
        refused = {f"refused_{reason}": n for reason, n in self._gate.refused.items()}
        own = [replace(a, peer=self._identity.peer_id) for a in self._addresses]
        return {
            "healthy": self._daemon is not None,
            "detail": "" if self._daemon else self.detail,
            "addresses": [str(a) for a in own] if self._daemon else [],
            "reach": self._reach,
            "peers_seen": len(self._directory.live()),
            "counters": {
                **self._counters,
                **self._exchange.counters,
                **self._mirror_desk.counters,
                **self._stats_desk.counters,
                **refused,
            },
        }

    def _stats(self) -> NodeStats:
        state, newest = self.state(), self._latest[2] if self._latest else None
        return NodeStats.of(time.monotonic() - self._started, newest, state["peers_seen"], state["counters"])

    async def _live_once(self, fixed_port: bool) -> None:
        """From the start of a daemon to its end; leaves the reason in `detail`."""
        settings = replace(self._settings, client_mode=self._hidden)
        if fixed_port:
            settings = replace(settings, listen=self._listen())
        bootstrap = list(map(str, self._joinable())) if settings.bootstrap else []
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
            self._addresses = await daemon.addresses()
            self._looked_round = False
            await daemon.join(self._joinable())
            await self._find_reach(daemon)
            self._daemon = daemon
            self._counters["starts"] += 1
            if self._latest:
                await self._announce(daemon)
            self.detail = await daemon.watch(self._tend)
        except (*DAEMON_ERRORS, TransportDown) as error:
            self.detail = f"lost the network daemon: {str(error) or type(error).__name__}"
        finally:
            self._daemon = None
            await daemon.stop()

    async def _tend(self) -> None:
        """Now and then: own addresses change, and a node that lost all others has to look for them."""
        if self._daemon:
            self._addresses = await self._daemon.addresses()
            if self._daemon.alone:
                await self._daemon.join(self._joinable())
            await self._find_reach(self._daemon)
            if self._settings.lan:
                await self._meet_neighbours(self._daemon)
            if self._cache:
                self._cache.remember(self._met())

    async def _meet_neighbours(self, daemon: Daemon) -> None:
        if self._neighbours is None:
            own = [replace(a, peer=self._identity.peer_id) for a in self._addresses]
            self._neighbours = Neighbours(self._membership.swarm, own)
        fresh = [a for a in self._neighbours.found if a not in self._greeted]
        self._greeted.update(fresh)
        await daemon.join(fresh)

    async def _find_reach(self, daemon: Daemon) -> None:
        """Asks peers to dial back, until some did. A node that is hidden, and was not told so, starts anew as such."""
        if self._reach is not Reach.UNKNOWN or not self._addresses or time.monotonic() < self._reach_due:
            return
        self._reach_due = time.monotonic() + _REACH_PERIOD
        told = parse_known(self._settings.announce) or self._addresses
        dial = self._dialler(daemon, REACH_PROTOCOL)
        ports = sorted({a.port for a in told})
        self._reach = await find_reach(self._joinable(), self._membership, ports, dial)
        if self._reach is Reach.HIDDEN and self._settings.client_mode is None:
            self._hidden = True
            raise TransportDown(
                "peers cannot dial this node: it goes on as one that leaves bodies with mirrors"
            )

    async def _announce(self, daemon: Daemon) -> Announcement:
        assert self._latest is not None
        digest, size, summary = self._latest
        manifest, peer = self._settings.manifest, self._identity.peer_id
        # Later than the last even when the clock steps back: of two records of one peer the later one stays.
        created = self._last_created = max(time.time(), self._last_created + 0.001)
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
        self._counters["announced"] += 1
        return announcement

    async def _reply_addresses(self, daemon: Daemon, digest: bytes) -> tuple[str, ...]:
        """Where others get the own body: here, or from the mirrors of a node that cannot be dialled."""
        if not self._hidden:
            return tuple(map(str, widest(self._addresses)))
        body = self._exchange.bodies.get(digest)
        assert body is not None  # the newest own body is never dropped
        candidates = [a for a in self._joinable() if self._may_dial(str(a.without_peer()))]
        mirrors = await self._mirrors.keep(body, candidates, self._dialler(daemon, PUSH_PROTOCOL))
        if not mirrors:
            self._counters["no_mirror"] += 1
            log.warning("no peer keeps the body of this node, which others cannot dial: few will get it")
        return tuple(map(str, mirrors))

    def _dialler(self, daemon: Daemon, protocol: str) -> Dial:
        async def dial(peer: str, addresses: Sequence[str]) -> Stream:
            return await daemon.dial(protocol, peer, [a for a in addresses if self._may_dial(a)])

        return dial

    async def _look_round(self, daemon: Daemon, current: int, want: int) -> None:
        """Reads shards until `want` publishers are known."""
        manifest, lifetime = self._settings.manifest, self._settings.lifetime
        joining = not self._looked_round
        for keys in places(manifest, current, lifetime, joining=joining, generator=self._generator):
            self._directory.learn(await daemon.read(keys))
            if len(self._directory.live()) >= want:
                break
        self._looked_round = True

    def _up(self) -> Daemon:
        if self._daemon is None:
            raise TransportDown(self.detail)
        return self._daemon

    def _joinable(self) -> list[Address]:
        """Peers to join through, never itself: as configured, met, or known from an earlier run.

        Those met are as good as the configured ones, which may be gone by now.
        """
        cached = self._cache.addresses if self._cache else ()
        near = self._neighbours.found if self._neighbours else ()
        told = parse_known(self._settings.bootstrap)
        known = dict.fromkeys([*told, *self._met(), *near[:_MAX_JOIN], *cached[:_MAX_JOIN]])
        return [a for a in known if a.peer != self._identity.peer_id]

    def _met(self) -> list[Address]:
        """Where publishers of live announcements listen."""
        met = [
            replace(parse_known([t])[0], peer=a.peer) for a in self._directory.live() for t in a.own_addresses
        ]
        return [a for a in met if self._may_dial(str(a.without_peer()))][:_MAX_JOIN]

    def _may_dial(self, address: str) -> bool:
        """Private addresses only where the own are private: strangers do not choose hosts of our LAN."""
        configured = parse_known((*self._settings.bootstrap, *self._settings.announce))
        lan = not any(a.is_global for a in (*configured, *self._addresses))
        return lan or all(a.is_global for a in parse_known([address]))

    def _listen(self) -> tuple[str, ...]:
        """The listen addresses with the ports of the last start, so that a restart keeps invites valid."""
        ports = {a.family: a.port for a in self._addresses} if not self._settings.announce else {}
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
