"""The peer supervisor joins the swarm and stays in it: it keeps a daemon running, announces, reads and fetches.

Lives in the transport's own process. The daemon may die or never come up: calls then raise TransportDown at
once, and `run` goes on trying.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from policies.error_words import brief
from swarm.discovery import key_watch
from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.discovery.clock_watch import ClockWatch, clock_refusal
from swarm.discovery.shard_reader import ShardReader
from swarm.errors import TransportDown
from swarm.exchange.announcement_exchange import AnnouncementServer
from swarm.exchange.autonat import DialBackServer, Reachability, probe_reachability
from swarm.exchange.body_exchange import BodyExchange
from swarm.exchange.peer_stats import NodeStats, StatsServer
from swarm.exchange.push_mirror import MirrorServer
from swarm.exchange.told_refusals import NO_REFUSALS
from swarm.limits import (
    ANNOUNCEMENTS_PROTOCOL,
    FETCH_PROTOCOL,
    PUSH_PROTOCOL,
    REACH_PROTOCOL,
    ROWS_PROTOCOL,
    STATS_PROTOCOL,
    STREAM_TIMEOUT,
)
from swarm.network import dht_protocol
from swarm.network.address_book import AddressBook
from swarm.network.foreign_values import ForeignValues
from swarm.network.ipc import SHUT_OUT, STARTING, DhtSettings
from swarm.network.known_peers import KnownPeers
from swarm.network.p2p_daemon import DAEMON_ERRORS, Daemon, answer_within
from swarm.network.publisher import Publisher
from swarm.process import BackOff
from swarm.rows.row_store import SharedRows
from swarm.rows.rows_fetch import RowsFetcher, Wanted
from swarm.rows.rows_server import RowsServer
from swarm.wire.announcement import Announcement, Summary, epoch_of
from swarm.wire.identity import Identity
from swarm.wire.invite import nobody_answers
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address, hosts_and_ports, parse_known

log = logging.getLogger(__name__)

_SAME_PORTS = 3  # failures in a row up to which a daemon listens on the ports of the last one
_REACH_PERIOD = 60.0  # seconds between questions for reachability, until one is answered
_CLOCK_PERIOD = 120.0  # seconds between looks at the clocks of _CLOCKS peers
_CLOCKS = 3
# The same while a peer's announcements come expired, as those of a clock that is behind do.
_DOUBT_PERIOD = 15.0
# Of a call's time, for reading the DHT, and for that and asking peers: replicas that answer nothing must not use it all
# up, and what is heard of by then is handed up. On a busy machine both took the whole of it, and the call had failed.
_READ_SHARE, _LOOK_SHARE = 0.4, 0.75
_ROWS_READ = 4.0  # seconds of a call for rows in which members are looked for, while none is heard of
_ROWS_HOLDERS = 8
# Announcements that a node which knows nobody is handed of peers that it is not connected with.
_STRANGERS = 8
_MAX_RETURNED = 1024  # announcements by one call: 1 MiB at most


class PeerSupervisor:
    """One node's part in its swarm, for as long as the process lives. `detail` says why there is no daemon now."""

    def __init__(self, settings: DhtSettings, key: Path) -> None:
        identity = Identity.load(
            key
        )  # made by whoever started this process: a folder that was taken back stays so
        self.detail = STARTING
        self._settings = settings
        self._key = key
        self._filter = AnnouncementFilter(settings.manifest)
        self._announcements = AnnouncementStore(self._filter, identity.peer_id, is_known=self._is_known)
        membership = Membership.of(settings.manifest, settings.secret, identity.peer_id)
        self._membership = membership
        self._known = KnownPeers(membership, self._announcements)
        self._exchange = BodyExchange(membership, settings.serve, self._announcements, self._is_known)
        self._address_book = AddressBook(
            settings, membership.swarm, identity.peer_id, self._announcements, self._is_known
        )
        self._publisher = Publisher(settings, identity, membership, self._exchange, self._address_book)
        self._foreign = ForeignValues(lambda: self._filter.foreign)
        self._clocks = ClockWatch()
        self._clocks_compared = -math.inf  # monotonic seconds
        self._doubted: Announcement | None = None  # came expired: its maker's clock may be behind
        self._clock_refusal = ""  # why the last start failed, where it was the clock
        self._filter.on_verified = self._note_heard
        self._filter.on_future = self._note_future
        self._mirror_server = MirrorServer(membership, self._exchange.mirrored, self._is_known)
        self._dial_back_server = DialBackServer(membership, self._is_known)
        self._reach = Reachability.UNKNOWN
        self._reach_due = 0.0  # monotonic seconds
        self._announcement_server = AnnouncementServer(
            membership, self._announcements, lambda: self._exchange.offer, self._is_known
        )
        shared = SharedRows(settings.rows)
        self._rows_server = RowsServer(membership, shared, settings.serve, self._is_known)
        self._rows_fetcher = RowsFetcher(membership)
        self._stats_server = StatsServer(membership.swarm, self._stats, membership.admits, self._is_known)
        self._started = time.monotonic()
        self.counters: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()  # those that were not served, over all daemons
        self._daemon: Daemon | None = None
        self._shard_reader = ShardReader(
            settings.manifest, self._announcements, settings.lifetime, random.Random()
        )

    async def run(self) -> None:
        """Keeps a daemon running until cancelled."""
        back_off = BackOff()
        try:
            while True:
                started = time.monotonic()
                await self._join_and_stay(fixed_port=back_off.failures < _SAME_PORTS)
                if _cancelled():
                    raise asyncio.CancelledError
                log.warning("network down: %s", self.detail)
                await asyncio.sleep(back_off.after(time.monotonic() - started))
        finally:
            self._address_book.close()

    def keep(self, body: bytes, summary: Summary) -> None:
        """Makes `body` the one that is announced, now or when the daemon is up again."""
        self._publisher.keep(body, summary)

    async def announce(self) -> Announcement:
        """Raises TransportDown, and DecodeError when others would refuse the announcement."""
        return await self._publisher.announce(self._up())

    async def announcements(
        self, want: int, declined: Sequence[Announcement] = (), known: Sequence[str] = ()
    ) -> list[Announcement]:
        """See `Transport.announcements`. Raises TransportDown, and TimeoutError when nobody is heard of in time."""
        daemon = self._up()
        self._known.update(known)
        for announcement in declined:
            self._shard_reader.mark_fetched(announcement)
        timeouts = self.counters["read_timeouts"]
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SHARE * self._settings.call_timeout):
                await self._look(daemon, want)
        found = self._shard_reader.candidates(want)[:_MAX_RETURNED]
        if not found and self.counters["read_timeouts"] > timeouts:
            raise TimeoutError
        return found if known else await self._linked_first(daemon, found)

    async def _linked_first(self, daemon: Daemon, found: list[Announcement]) -> list[Announcement]:
        """While nobody is known: peers that this node has a connection with, and few others.

        Names that announce cost nothing. Among a hundred that lead nowhere a newcomer did not come to the few that do.
        """
        linked = await daemon.connected(a.peer for a in found)
        others = [a for a in found if a.peer not in linked]
        count = min(len(others), max(_STRANGERS // 2, _STRANGERS - len(linked)))
        return [a for a in found if a.peer in linked] + random.sample(others, count)

    async def _look(self, daemon: Daemon, want: int) -> None:
        """Reads the DHT, and asks peers where that brings nothing new of known ones."""
        before = self._announcements.news_of_known
        try:
            async with asyncio.timeout(_READ_SHARE * self._settings.call_timeout):
                await self._read_shards(daemon, want)
        except TimeoutError:
            self.counters["read_timeouts"] += 1
        news = self._announcements.news_of_known > before
        dial = self._address_book.dialler(daemon, ANNOUNCEMENTS_PROTOCOL)
        await self._known.ask(dial, self._address_book.bootstrap_candidates(), news=news)

    async def _read_shards(self, daemon: Daemon, want: int) -> None:
        epoch = epoch_of(time.time(), self._settings.manifest.epoch_seconds)
        for keys in self._shard_reader.keys_to_read(epoch, want):
            self._shard_reader.add(await daemon.read(keys))

    async def fetch(self, announcement: Announcement, refused: Mapping[str, int] = NO_REFUSALS) -> bytes:
        """See `Transport.fetch`. Raises TransportDown, FetchFailed."""
        dial = self._address_book.dialler(self._up(), FETCH_PROTOCOL, announcement.peer)
        self._shard_reader.mark_fetched(announcement)
        return await self._exchange.fetch(announcement, dial, refused)

    async def rows(self, wanted: Wanted) -> bytes:
        """A piece of shared rows from any member that has it. Raises TransportDown, FetchFailed."""
        daemon = self._up()
        if not self._announcements.live():
            with suppress(TimeoutError):
                async with asyncio.timeout(_ROWS_READ):
                    await self._read_shards(daemon, _ROWS_HOLDERS)
        dial = self._address_book.dialler(daemon, ROWS_PROTOCOL)
        holders = self._address_book.bootstrap_candidates()
        return await self._rows_fetcher.fetch(wanted, holders, dial, STREAM_TIMEOUT - _ROWS_READ - 1.0)

    def state(self) -> dict[str, Any]:
        counters = Counter(
            {f"refused_{reason}": n for reason, n in (self._filter.refused + dht_protocol.refused).items()}
        )
        counters["key_elsewhere"] = self._publisher.keys.foreign
        servers = self._mirror_server, self._dial_back_server, self._stats_server, self._announcement_server
        rows = self._rows_server.counters, self._rows_fetcher.counters
        own = self._foreign.counters, self.counters, self._publisher.counters
        exchanged = self._exchange.counters, self._exchange.told.counters
        apart = self._address_book.budget.counters, self._known.counters, self._streams
        for counted in (*apart, *own, *exchanged, *rows, *(server.counters for server in servers)):
            counters.update(counted)
        return {
            "healthy": self._daemon is not None,
            "detail": "" if self._daemon else self.detail,
            "addresses": list(map(str, self._address_book.named)) if self._daemon else [],
            "reach": self._reach,
            "peers_seen": len(self._announcements.live()),
            "counters": dict(counters),
            "warnings": self._warnings(),
            "refused_values": self._foreign.by_caller,
            "clock_offset": self._clocks.offset,
        }

    def _warnings(self) -> dict[str, str]:
        joins = {a.peer for a in parse_known(self._settings.bootstrap)}
        alone = key_watch.OWN_INVITE if joins == {self._publisher.keys.peer} else ""
        warnings = {"same key": key_watch.WARNING if self._publisher.keys.foreign else alone}
        warnings["foreign values"] = self._foreign.warning
        warnings["refused by peers"] = self._exchange.told.warning
        warnings["clock"] = self._clock_refusal or self._clocks.warning
        return {kind: words for kind, words in warnings.items() if words}

    def _stats(self) -> NodeStats:
        state, up = self.state(), time.monotonic() - self._started
        return NodeStats.of(up, self._publisher.newest, state["peers_seen"], state["counters"])

    async def _join_and_stay(self, fixed_port: bool) -> None:
        """From the start of a daemon to its end; leaves the reason in `detail`."""
        settings = replace(self._settings, client_mode=self._publisher.hidden)
        if fixed_port:
            settings = replace(settings, listen=self._listen())
        bootstrap = list(map(str, self._address_book.bootstrap_candidates())) if settings.bootstrap else []
        try:
            daemon = await Daemon.start(settings, self._key, bootstrap, self._filter)
        except DAEMON_ERRORS as error:
            self.detail = self._readable(error)
            return
        try:
            async with answer_within(settings.start_timeout):
                await self._join_swarm(daemon)
            republishing = asyncio.create_task(self._publisher.stay_present(daemon))
            try:
                self.detail = await daemon.watch(self._maintain)
            finally:
                republishing.cancel()
        except DAEMON_ERRORS as error:
            self.detail = f"lost the network daemon: {brief(error)}"
        except TransportDown as error:  # the daemon is well, and the node is not in the swarm by it
            self.detail = str(error)
        finally:
            self._daemon = None
            await daemon.stop()

    async def _join_swarm(self, daemon: Daemon) -> None:
        """Serves peers, makes itself known to those it may join through, and announces what it has."""
        daemon.on_clock, daemon.counters = self._clocks.note, self._streams
        daemon.guard(self._foreign)
        await daemon.serve(FETCH_PROTOCOL, self._exchange.serve)
        await daemon.serve(PUSH_PROTOCOL, self._mirror_server.serve)
        await daemon.serve_seen(REACH_PROTOCOL, self._dial_back_server.serve)
        await daemon.serve(ANNOUNCEMENTS_PROTOCOL, self._announcement_server.serve)
        await daemon.serve(ROWS_PROTOCOL, self._rows_server.serve)
        await daemon.serve(STATS_PROTOCOL, self._stats_server.serve)
        self._address_book.addresses = await daemon.addresses()
        self._shard_reader.rejoin()
        through = self._address_book.bootstrap_candidates()
        await self._address_book.connect(daemon, through)
        if await self._known.is_shut_out(self._address_book.dialler(daemon, ANNOUNCEMENTS_PROTOCOL), through):
            raise TransportDown(f"whoever answers at {hosts_and_ports(through)} {SHUT_OUT}")
        await self._probe_reachability(daemon)
        self._daemon, self._clock_refusal = daemon, ""
        self.counters["starts"] += 1
        if self._publisher.newest:
            await self._publisher.announce(daemon)

    async def _maintain(self) -> None:
        """Now and then: own addresses change, and a node that lost all others has to look for them."""
        if self._daemon:
            self._address_book.addresses = await self._daemon.addresses()
            if self._daemon.alone:
                await self._address_book.connect(self._daemon, self._address_book.bootstrap_candidates())
            await self._probe_reachability(self._daemon)
            await self._compare_clocks(self._daemon)
            await self._address_book.maintain(self._daemon)

    def _note_heard(self, announcement: Announcement) -> None:
        self._publisher.keys.note_heard(announcement)
        if announcement.peer != self._publisher.keys.peer:
            in_time = self._filter.live(announcement)
            self._clocks.note_announced(announcement.peer, announcement.created, in_time=in_time)
            if not in_time:
                self._doubted = announcement

    def _note_future(self, announcement: Announcement, ahead: float) -> None:
        if announcement.peer != self._publisher.keys.peer:  # else it is of before the clock was set back
            self._clocks.note(announcement.peer, ahead, at_least=True)
            self._clocks.note_announced(announcement.peer, announcement.created, in_time=False)

    async def _compare_clocks(self, daemon: Daemon) -> None:
        """With a few peers, now and then and when one was set: clocks drift, and hivemind looks at a join alone."""
        period = _DOUBT_PERIOD if self._doubted else _CLOCK_PERIOD
        if self._clocks.look() or time.monotonic() >= self._clocks_compared + period:
            self._clocks_compared = time.monotonic()
            known = self._address_book.bootstrap_candidates()
            asked = random.sample(known, min(len(known), _CLOCKS))
            if self._doubted:
                asked += self._address_book.places([self._doubted])
                self._doubted = None
            await self._address_book.connect(daemon, asked)

    async def _probe_reachability(self, daemon: Daemon) -> None:
        """Asks peers to dial back, until some did. A node that is hidden, against its settings, starts anew as such."""
        if (
            self._reach is not Reachability.UNKNOWN
            or not self._address_book.addresses
            or time.monotonic() < self._reach_due
        ):
            return
        self._reach_due = time.monotonic() + _REACH_PERIOD
        announced = parse_known(self._settings.announce) or self._address_book.addresses
        dial = self._address_book.dialler(daemon, REACH_PROTOCOL)
        ports = sorted({a.port for a in announced})
        self._reach = await probe_reachability(
            self._address_book.bootstrap_candidates(), self._membership, ports, dial
        )
        if self._reach is Reachability.HIDDEN and self._settings.client_mode is None:
            self._publisher.hidden = True
            raise TransportDown(
                "peers cannot dial this node: it goes on as one that leaves bodies with mirrors"
            )

    def _is_known(self, peer: str) -> bool:
        return peer in self._known

    def _up(self) -> Daemon:
        if self._daemon is None:
            raise TransportDown(self.detail)
        return self._daemon

    def _listen(self) -> tuple[str, ...]:
        """The listen addresses with the ports of the last start, so that a restart keeps invites valid."""
        ports = (
            {a.family: a.port for a in self._address_book.addresses} if not self._settings.announce else {}
        )
        wanted = [Address.parse(a) for a in self._settings.listen]
        return tuple(str(a if a.port else replace(a, port=ports.get(a.family, 0))) for a in wanted)

    def _readable(self, error: BaseException) -> str:
        cause = brief(error)
        self._clock_refusal = clock_refusal(cause) or ""
        if self._clock_refusal:
            return self._clock_refusal
        bootstrap = parse_known(self._settings.bootstrap)
        if bootstrap and "bootstrap" in cause:
            return nobody_answers(bootstrap)
        if "address already in use" in cause:
            return f"cannot listen on {', '.join(self._settings.listen)}: another program has the port"
        return f"the network daemon did not start: {cause}"


def _cancelled() -> bool:
    """Whether this task is being cancelled. A daemon that fails in the same moment hides that: asyncio's `wait_for`,
    which hivemind starts daemons with, then raises the daemon's error alone."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
