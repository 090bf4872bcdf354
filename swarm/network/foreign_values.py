"""Foreign values: what other programs store with this node's part of the DHT, and who is blocked because of it.

hivemind hands a value over whole before anybody can refuse it, so that refusing alone saves nothing. A caller whose
values are refused again and again gets errors for answers: its own hivemind then drops this node from its tables.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from hivemind.dht.protocol import DHTProtocol
from hivemind.p2p import PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError

from swarm.exchange.rate_limit import PeerBuckets
from swarm.newest_kept import set_newest

log = logging.getLogger(__name__)

# Honest peers send what others admit: a few refusals come of clocks, restarts and releases.
_BURST, _RATE = 16.0, 1.0 / 60.0  # that one caller has at once, and those a second that come back
_BYTES_BURST, _BYTES_RATE = 256 * 1024.0, 256.0  # the same for their bytes
_BLOCKED_SECONDS = 1800.0  # that a caller over its budget is not answered
_MAX_CALLERS = 1024
_TOLD = 32  # callers in one state
_WARNED_FROM = 8  # values
_NAMED = 4  # callers of so many, in the warning


class ForeignValues:
    """Of one node: refused values by caller, and the callers that are not answered."""

    def __init__(self, refused: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        """`refused` says how many values the validator has refused so far."""
        self.counters: Counter[str] = Counter()
        self._refused = refused
        self._clock = clock
        self._values = PeerBuckets(_RATE, _BURST, clock)
        self._bytes = PeerBuckets(_BYTES_RATE, _BYTES_BURST, clock)
        self._by_caller: OrderedDict[str, int] = OrderedDict()
        self._named: list[str] = []  # the first callers of _WARNED_FROM values
        self._partings: set[asyncio.Task[None]] = set()  # under way
        self._blocked: OrderedDict[str, float] = OrderedDict()  # until when, on the clock

    def is_blocked(self, caller: str) -> bool:
        return self._blocked.get(caller, 0.0) > self._clock()

    def note(self, caller: str, values: int, size: int) -> bool:
        """`values` of a request of `size` bytes were refused. Whether the caller is blocked from now on."""
        if not values:
            return False
        self.counters.update(foreign_values=values, foreign_bytes=size)
        set_newest(self._by_caller, caller, self._by_caller.get(caller, 0) + values, _MAX_CALLERS)
        if self._by_caller[caller] >= _WARNED_FROM and caller not in self._named[:_NAMED]:
            self._named = [*self._named, caller][: _NAMED + 1]
        within = [self._values.take(caller, float(values)), self._bytes.take(caller, float(size))]
        if all(within):
            return False
        set_newest(self._blocked, caller, self._clock() + _BLOCKED_SECONDS, _MAX_CALLERS)
        self.counters["foreign_peers_left"] += 1
        log.warning("%s is left: its values were refused %d times", caller, self._by_caller[caller])
        return True

    def refuse_blocked(self, caller: PeerID) -> None:
        """Raises PermissionError for who is blocked: hivemind sends it as the answer."""
        if self.is_blocked(str(caller)):
            raise PermissionError("values of yours were refused again and again: this DHT is a swarm's own")

    @contextmanager
    def counting(self, protocol: DHTProtocol, caller: PeerID, size: int) -> Iterator[None]:
        """Round a store of `size` bytes that does not pause, so that what is refused meanwhile is the caller's."""
        before, broken = self._refused(), 1
        try:
            yield
            broken = 0
        finally:
            if self.note(str(caller), self._refused() - before or broken, size):
                parting = asyncio.create_task(_part_from(protocol, caller))
                self._partings.add(parting)
                parting.add_done_callback(self._partings.discard)

    @property
    def by_caller(self) -> dict[str, int]:
        """Refused values of the callers with most of them."""
        return dict(Counter(self._by_caller).most_common(_TOLD))

    @property
    def warning(self) -> str:
        """What is wrong, and what to do; empty while there is little. It changes with whom it names alone."""
        if self.counters["foreign_values"] < _WARNED_FROM:
            return ""
        others = " and others" if len(self._named) > _NAMED else ""
        who = f"{', '.join(self._named[:_NAMED])}{others}" if self._named else "several peers"
        return (
            f"values of {who} were refused at this node's part of the DHT: a node of another swarm (as is who "
            "joined a private one by its address alone), another program or another release is in it. Peers that go on "
            "are left. A swarm's DHT is its own: give its addresses to its own nodes alone"
        )


async def _part_from(protocol: DHTProtocol, caller: PeerID) -> None:
    """Forgets the caller as a DHT node and ends the connection."""
    node_id = protocol.routing_table.peer_id_to_uid.get(caller)
    if node_id is not None:
        del protocol.routing_table[node_id]
    with suppress(P2PDaemonError, OSError):
        await protocol.p2p._client.disconnect(caller)
