"""The DHT: announcements on the five servers nearest to their shard's key, and what look-ups ask of the servers.

Left out, as it costs more than it changes: hivemind's blacklist of silent servers (each request to one is counted
and waited for), and the handing over of records to a newcomer (its dictionaries begin empty).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgpack

from swarm.simulation.costs import (
    CONNECTION_TRIPS,
    LOOKUP_WORKERS,
    RECORD_OVERHEAD,
    RPC_BYTES,
    RPC_TIMEOUT,
)
from swarm.simulation.links import Host, Links
from swarm.simulation.routing import Routing, id_of
from swarm.wire.identity import peer_bytes

REPLICAS = 5


@dataclass(slots=True)
class Cost:
    """What an operation came to; see `costs` for what is counted."""

    rpcs: int = 0
    connections: int = 0  # new ones
    bytes: float = 0.0  # without those of new connections
    seconds: float = 0.0


@dataclass(slots=True)
class _Dictionary:
    """One key's dictionary on one server. It goes as a whole, when the last of its records expires."""

    records: dict[str, bytes] = field(default_factory=dict)  # by peer
    size: int = 0  # bytes as sent
    expires: float = 0.0

    def put(self, peer: str, raw: bytes, expires: float) -> None:
        held = self.records.get(peer)
        self.size += len(raw) - len(held) if held is not None else len(raw) + RECORD_OVERHEAD
        self.records[peer] = raw
        self.expires = max(self.expires, expires)


@dataclass(slots=True, eq=False)
class Server:
    """A host that holds a part of the DHT, and the work that it had."""

    host: Host
    dictionaries: dict[str, _Dictionary] = field(default_factory=dict)
    requests: int = 0
    moved: float = 0.0  # bytes received and sent

    def dictionary(self, key: str, now: float) -> _Dictionary | None:
        dictionary = self.dictionaries.get(key)
        return dictionary if dictionary is not None and dictionary.expires > now else None

    def put(self, key: str, peer: str, raw: bytes, expires: float, now: float) -> None:
        if key not in self.dictionaries:
            self.dictionaries = {name: held for name, held in self.dictionaries.items() if held.expires > now}
            self.dictionaries[key] = _Dictionary()
        self.dictionaries[key].put(peer, raw, expires)


class Dht:
    """All servers, and the operations of nodes on them."""

    def __init__(self, links: Links, routing: Routing, clock: Callable[[], float]) -> None:
        self.servers: dict[int, Server] = {}  # by id, those that live
        self._links, self._routing, self._clock = links, routing, clock
        self._ids: dict[str, int] = {}  # of hosts, by PeerID

    def serve(self, host: Host) -> None:
        """Makes `host` a server."""
        self.servers[self._peer_id(host)] = Server(host)
        self._routing.join(self._peer_id(host))

    def leave(self, host: Host) -> None:
        """A host is gone, with what it held."""
        if self.servers.pop(self._peer_id(host), None):
            self._routing.leave(self._peer_id(host))
        self._routing.forget(self._peer_id(host))
        del self._ids[host.peer]

    def is_server(self, host: Host) -> bool:
        return self._peer_id(host) in self.servers

    def read(self, reader: Host, key: str) -> tuple[list[bytes], Cost]:
        """The records under `key` of all replicas that answer, which each send all that they have."""
        cost = Cost()
        answers, _ = self._search(reader, key, cost)
        found: dict[bytes, None] = {}  # in an order that does not depend on the process, as a set's would
        for dictionary in answers:
            found.update(dict.fromkeys(dictionary.records.values()))
        return list(found), cost

    def find_replicas(self, writer: Host, key: str) -> tuple[list[Server], Cost]:
        """Where to put a record, best first. Finding that out downloads every copy of the dictionary."""
        cost = Cost()
        _, nearest = self._search(writer, key, cost)
        if self.is_server(writer):
            nearest.append(self._peer_id(writer))
        nearest.sort(key=lambda server: server ^ self._key_id(key))
        return [self.servers[server] for server in nearest if server in self.servers], cost

    def put(self, writer: Host, replicas: list[Server], key: str, raw: bytes, expires: float) -> Cost:
        """Stores on the first five of `replicas` that answer."""
        cost = Cost()
        held = 0
        for server in replicas:
            if held == REPLICAS:
                break
            if server.host is writer or self._asked(writer, server, cost, len(raw) + RECORD_OVERHEAD):
                server.put(key, writer.peer, raw, expires, self._clock())
                held += 1
        cost.seconds /= REPLICAS  # the stores go out at once
        return cost

    def forget_loads(self) -> None:
        """Begins counting the servers' work anew."""
        for server in self.servers.values():
            server.requests, server.moved = 0, 0.0

    def _search(self, caller: Host, key: str, cost: Cost) -> tuple[list[_Dictionary], list[int]]:
        """The dictionaries met on the way to `key`, and the ids of the servers nearest to it."""
        now = self._clock()
        dictionaries: list[_Dictionary] = []
        own = self.servers.get(self._peer_id(caller))
        if own and (dictionary := own.dictionary(key, now)):
            dictionaries.append(dictionary)

        def asks(server_id: int) -> bool:
            server = self.servers.get(server_id)
            dictionary = server.dictionary(key, now) if server else None
            if not self._asked(caller, server, cost, dictionary.size if dictionary else 0):
                return False
            if dictionary:
                dictionaries.append(dictionary)
            return True

        search = self._routing.search(self._peer_id(caller), self._key_id(key), now, asks)
        cost.seconds /= LOOKUP_WORKERS
        return dictionaries, list(search.nearest)

    def _asked(self, caller: Host, server: Server | None, cost: Cost, payload: int) -> bool:
        """Books one request on both sides; whether it was answered."""
        cost.rpcs += 1
        if server is None or not self._links.reaches(caller, server.host):
            cost.seconds += RPC_TIMEOUT
            return False
        cost.bytes += RPC_BYTES
        trip = self._links.round_trip(caller, server.host)
        if self._links.connect(caller, server.host):
            cost.connections += 1
            cost.seconds += CONNECTION_TRIPS * trip
        if self._links.loses():
            cost.seconds += RPC_TIMEOUT
            return False
        cost.bytes += payload
        cost.seconds += trip
        server.requests += 1
        server.moved += RPC_BYTES + payload
        return True

    def _peer_id(self, host: Host) -> int:
        known = self._ids.get(host.peer)
        if known is None:
            known = self._ids[host.peer] = id_of(peer_bytes(host.peer))
        return known

    def _key_id(self, key: str) -> int:
        return id_of(msgpack.packb(key))
