"""The p2p daemon: one running p2pd with a DHT node on it. Loaded in the transport's own process only.

Owns the daemon itself: `DHTNode.create` leaks the one it starts when bootstrapping fails.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from hivemind.dht.node import DHTNode
from hivemind.dht.protocol import ValidationError
from hivemind.dht.routing import DHTID
from hivemind.p2p import P2P, PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError
from hivemind.proto import dht_pb2
from hivemind.utils.multiaddr import Multiaddr
from hivemind.utils.timed_storage import get_dht_time

from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.errors import DecodeError, FetchFailed
from swarm.exchange.framing import Stream
from swarm.exchange.rate_limit import PeerBuckets
from swarm.network.dht_protocol import GuardedProtocol
from swarm.network.dht_validator import AnnouncementValidator, harden
from swarm.network.foreign_values import ForeignValues
from swarm.network.ipc import DhtSettings
from swarm.wire.announcement import Announcement, shard_key
from swarm.wire.identity import peer_bytes, peer_text
from swarm.wire.multiaddr import Address, parse_known

log = logging.getLogger(__name__)

DAEMON_ERRORS = (P2PDaemonError, ValidationError, RuntimeError, OSError, EOFError)

_RPC_TIMEOUT = 3.0  # seconds for one DHT node to answer
_DIAL_TIMEOUT = 8.0  # seconds to connect and open a stream
_HEALTH_PERIOD = 5.0  # seconds between questions to the daemon, and for its answer
_STOP_TIMEOUT = 3.0
_START_SHARE = 2.0  # times `start_timeout`: once for p2pd to start, and again for the DHT node to join by it
# Nearest nodes that a search visits: 8 still find all 5 replicas among 10,000 nodes, in 9-13 calls.
_BEAM = 8

# Streams of our protocols that one peer may open at once, and those a second that come back: honest ones open a few a
# round. Beyond them the connection is closed.
_STREAMS_BURST, _STREAMS_RATE = 64.0, 4.0

Serve = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]
ServeSeen = Callable[[str, Address | None, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Daemon(P2P):
    """`P2P` that does not make every node a relay of up to 4 GiB a circuit for strangers."""

    relay = False

    @classmethod
    def _make_process_args(cls, *args: Any, **kwargs: Any) -> list[str]:
        # Without discovery a node that cannot be dialled reserves at the bootstrap peers within seconds; with it
        # p2pd waits minutes for more candidates first.
        more = [f"-relayService={int(cls.relay)}", "-relayDiscovery=0"]
        return [*P2P._make_process_args(*args, **kwargs), *more]


class _RelayDaemon(_Daemon):
    relay = True


class Daemon:
    """What the supervisor asks of a running p2pd: streams, stores, look-ups, and whether it still lives."""

    def __init__(self, p2p: P2P, node: DHTNode) -> None:
        self.on_clock: Callable[[str, float], None] | None = None  # hears how far a peer's clock is ahead
        self.counters: Counter[str] = Counter()
        self._p2p = p2p
        self._node = node
        self._opened = PeerBuckets(_STREAMS_RATE, _STREAMS_BURST)

    @classmethod
    async def start(
        cls,
        settings: DhtSettings,
        key: Path,
        bootstrap: Sequence[str],
        announcement_filter: AnnouncementFilter,
    ) -> Daemon:
        """Raises one of DAEMON_ERRORS, a daemon that hangs too, and leaves nothing running."""
        try:
            async with answer_within(_START_SHARE * settings.start_timeout):
                p2p = await _new_daemon(settings, key, bootstrap)
                return cls(p2p, await _new_node(p2p, settings, bootstrap, announcement_filter))
        except BaseException:
            _kill_daemons()  # hivemind waits without end for one that hangs, and forgets it when that is cancelled
            raise

    def guard(self, foreign: ForeignValues) -> None:
        """From now on refused values are counted by their callers, and some of these not answered."""
        self._node.protocol.foreign_values = foreign

    async def serve(self, protocol: str, handler: Serve) -> None:
        """Lets `handler` answer streams of `protocol`, by the PeerID that the daemon authenticated and its host, empty
        for a place that cannot be dialled.
        """

        async def from_host(
            peer: str, seen_at: Address | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await handler(peer, reader, writer, seen_at.host if seen_at else "")

        await self.serve_seen(protocol, from_host)

    async def serve_seen(self, protocol: str, handler: ServeSeen) -> None:
        """As `serve`; `handler` also gets where the peer was seen, None for a place that cannot be dialled."""

        async def handle(info: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                peer = peer_text(info.peer_id.to_bytes())
            except DecodeError:  # an RSA key: not one of ours
                writer.close()
                return
            if not self._opened.take(peer, 1.0):
                # Each costs a socket and a task here, and nothing there: with the connection all of them end.
                self.counters["stream_rate"] += 1
                writer.close()
                with suppress(*DAEMON_ERRORS):
                    await self._p2p._client.disconnect(info.peer_id)
                return
            seen_at = next(iter(parse_known([str(info.addr)])), None)
            await handler(peer, seen_at, reader, writer)

        await self._p2p.add_binary_stream_handler(protocol, handle)

    async def store(self, announcement: Announcement) -> bool:
        """Whether at least one node holds it."""
        a = announcement
        key, value = shard_key(a.swarm, a.epoch, a.depth, a.shard), a.encode()
        stored = await self._node.store(
            key,
            value,
            a.expires,
            subkey=peer_bytes(a.peer),
            beam_size=_BEAM,
            exclude_self=self._node.protocol.client_mode,
        )
        # hivemind gives the last replica's word, which is False when another replica was faster to copy it there.
        return bool(stored) or value in await self.read([key])

    async def read(self, keys: Sequence[str]) -> list[object]:
        """The values found under `keys`, of all replicas."""
        found = await self._node.get_many(keys, sufficient_expiration_time=math.inf, beam_size=_BEAM)
        entries = [result.value for result in found.values() if result is not None]
        return [entry.value for values in entries if isinstance(values, dict) for entry in values.values()]

    async def dial(self, protocol: str, peer: str, addresses: Sequence[str]) -> tuple[Stream, Address | None]:
        """A stream of `protocol` to `peer`, and where that was reached, None for a relay. Raises FetchFailed."""
        try:
            async with asyncio.timeout(_DIAL_TIMEOUT):
                await self._connect(peer, addresses)
                info, reader, writer = await self._p2p.call_binary_stream_handler(_peer(peer), protocol)
        except DAEMON_ERRORS as error:
            raise FetchFailed("cannot be reached") from error
        return (reader, writer), next(iter(parse_known([str(info.addr)])), None)

    async def is_connected(self, peer: str) -> bool:
        """Whether there is a connection: also one that the peer opened, or a relay carries."""
        return bool(await self.connected([peer]))

    async def connected(self, peers: Iterable[str]) -> set[str]:
        """Those of `peers` that there is a connection with."""
        try:
            linked = {info.peer_id for info in await self._p2p.list_peers()}
        except DAEMON_ERRORS:
            return set()
        return {peer for peer in peers if _peer(peer) in linked}

    async def connect(self, addresses: Sequence[Address]) -> None:
        """Makes the nodes at `addresses` and this one know each other, as far as they answer."""
        await asyncio.gather(*(self._connect_one(a) for a in addresses if a.peer))

    @property
    def alone(self) -> bool:
        """Whether no other DHT node is known."""
        return not self._node.protocol.routing_table.uid_to_peer_id

    async def addresses(self) -> tuple[Address, ...]:
        """The dialable addresses of this node, without /p2p."""
        async with answer_within(_HEALTH_PERIOD):
            _, found = await self._p2p._client.identify()
        return tuple(a for a in parse_known([str(m) for m in found]) if a.port)

    async def watch(self, maintain: Callable[[], Awaitable[None]]) -> str:
        """Returns why the daemon counts as dead, once it does; runs `maintain` now and then until that.

        hivemind alone goes on answering `True` to stores after its daemon died.
        """
        exited = asyncio.create_task(self._p2p._child.wait())
        control = self._p2p._client.control
        # Of the link over which the DHT calls others; other questions to the daemon are answered without it.
        link = {control._read_task, control._write_task}
        try:
            while not exited.done() and not any(task.done() for task in link):
                async with asyncio.timeout(_HEALTH_PERIOD):
                    await self._p2p._client.identify()
                await maintain()
                await asyncio.wait(
                    {exited, *link}, timeout=_HEALTH_PERIOD, return_when=asyncio.FIRST_COMPLETED
                )
            if not exited.done():
                return "the link to the network daemon broke"
            return f"the network daemon ended with status {exited.result()}"
        except DAEMON_ERRORS:
            return "the network daemon does not answer"
        finally:
            exited.cancel()

    async def stop(self) -> None:
        self._node.is_alive = False
        await _stop(self._p2p)

    async def _connect(self, peer: str, addresses: Sequence[str]) -> None:
        """Raises P2PDaemonError where none of `addresses` answers, and there is no other connection."""
        # Without this p2pd would look the peer up, which costs 50-100 kB in a large swarm. Where it fails, opening a
        # stream would dial all of them again, beyond the dial budget.
        if not addresses:
            return
        try:
            await self._p2p._client.connect(_peer(peer), [Multiaddr(a) for a in addresses])
        except P2PDaemonError:
            if not await self.is_connected(peer):
                raise

    async def _connect_one(self, address: Address) -> None:
        assert address.peer is not None
        with suppress(*DAEMON_ERRORS):
            async with asyncio.timeout(_DIAL_TIMEOUT):
                await self._connect(address.peer, [str(address.without_peer())])
                await self._node.protocol.call_ping(_peer(address.peer))
                await self._compare_clocks(address.peer)

    async def _compare_clocks(self, peer: str) -> None:
        """Once more a ping, since hivemind's own gives away what it learned of the other's clock."""
        request = dht_pb2.PingRequest(peer=self._node.protocol.node_info)
        before = get_dht_time()
        answer = await self._node.protocol.get_stub(_peer(peer)).rpc_ping(request, timeout=_RPC_TIMEOUT)
        if answer.dht_time and self.on_clock:
            self.on_clock(peer, answer.dht_time - (before + get_dht_time()) / 2)


async def _new_daemon(settings: DhtSettings, key: Path, bootstrap: Sequence[str]) -> P2P:
    relays = _relays(bootstrap) if settings.client_mode else []
    return await (_RelayDaemon if settings.relay else _Daemon).create(
        initial_peers=list(bootstrap) or None,
        identity_path=str(key),
        check_if_identity_free=False,  # hivemind's check parses RSA keys only
        host_maddrs=list(settings.listen) or None,
        no_listen=not settings.listen,
        announce_maddrs=list(settings.announce) or None,
        dht_mode="client" if settings.client_mode else "server",
        # p2pd reserves, and offers, relay slots only once it knows how it can be reached.
        force_reachability="private" if settings.client_mode else "public" if settings.relay else None,
        use_auto_relay=bool(relays),
        trusted_relays=relays or None,  # p2pd ends when it gets some and shall use none
        nat_port_map=any(not Address.parse(a).is_loopback for a in settings.listen),
        startup_timeout=settings.start_timeout,
    )


async def _new_node(
    p2p: P2P, settings: DhtSettings, bootstrap: Sequence[str], announcement_filter: AnnouncementFilter
) -> DHTNode:
    """Stops the daemon where it fails."""
    GuardedProtocol.ping_fault = None
    try:
        node = await DHTNode.create(
            p2p=p2p,
            # The same after a restart: others would go on asking the old id, and get the new node's answers.
            node_id=DHTID.generate(source=p2p.peer_id.to_bytes()),
            initial_peers=list(bootstrap) or None,
            client_mode=settings.client_mode,
            record_validator=AnnouncementValidator(announcement_filter),
            wait_timeout=_RPC_TIMEOUT,
            cache_locally=False,  # caching makes each reader a holder: 13 copies of a record at 32 nodes
            cache_on_store=False,
            cache_nearest=0,
        )
        harden(node)
    except BaseException as error:
        await _stop(p2p)
        if isinstance(error, RuntimeError) and isinstance(GuardedProtocol.ping_fault, ValidationError):
            raise GuardedProtocol.ping_fault from error  # what was wrong with an answer says more
        raise
    return node


@asynccontextmanager
async def answer_within(seconds: float) -> AsyncIterator[None]:
    """Raises TimeoutError, with words, where the block takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"it did not answer within {seconds:g} s") from None


def _kill_daemons() -> None:
    """Those of this process, which has one at a time. SIGTERM does nothing to one that is stopped."""
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.name() == "p2pd":
                child.kill()


def _relays(bootstrap: Sequence[str]) -> list[str]:
    """One address of each peer, a global one if there is: p2pd waits until it has met as many peers as these."""
    known = sorted(parse_known(bootstrap), key=lambda a: a.is_global)
    return list({a.peer: str(a) for a in known}.values())


def _peer(text: str) -> PeerID:
    return PeerID(peer_bytes(text))


async def _stop(p2p: P2P) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await p2p.shutdown()
    except TimeoutError:
        p2p._child.kill()
