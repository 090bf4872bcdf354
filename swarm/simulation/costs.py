"""The cost model behind every byte and second that a simulation counts.

Bytes are those on the wire, in both directions together, booked on the node that began the operation; the mean over
a swarm is then what a node sends, and what it receives. The figures were measured on real daemons at 2 to 64 nodes
(`lo` counters in network namespaces, TLS and TCP headers included), unless a line says otherwise.
"""

from __future__ import annotations

RPC_BYTES = 1_400  # one DHT request and its answer, without what is stored
RECORD_OVERHEAD = 50  # of an announcement in a DHT dictionary: sub-key of 38 bytes, expiry, framing
CONNECTION_BYTES = 14_000  # a new connection: TCP, handshake, identify
FETCH_BYTES = 300  # request, frames and stream negotiation of one fetch; estimated from the frames' sizes
BODY_OVERHEAD = 1.03  # 103 kB were moved for a body of 100 kB
GOSSIP_OVERHEAD = 3  # msgpack header of an announcement that rides on an answer

# Beyond the first p2pd closes all but the second (-connHi, -connLo).
MAX_CONNECTIONS, KEPT_CONNECTIONS = 512, 256
CONNECTION_TRIPS = 3  # round trips of a new connection: TCP, TLS or noise, multiplexer and protocol
LINK_RATE = 2.5e6  # bytes a second of one transfer: assumed, a home line of 20 Mbit/s

RPC_TIMEOUT = 3.0  # as swarm.network.p2p_daemon sets them
DIAL_TIMEOUT = 8.0
LOOKUP_WORKERS = 4  # requests of one look-up under way at once (hivemind's num_workers)
