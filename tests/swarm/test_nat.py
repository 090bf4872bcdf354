"""Two nodes behind two NATs, neither of which can be dialled, and a third that everybody reaches: in the network lab.

The lab's routers share their one address and let in nothing that was not asked for; see `node.bench.netlab`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE, until_answered
from test_dht_transport import MANIFEST, SUMMARY, newest_of, until

from node.bench.netlab.kernel import obstacle
from node.bench.netlab.lab import Host, Lab
from swarm.exchange.autonat import Reachability
from swarm.exchange.body_store import ServeLimits
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.multiaddr import Address

MISSING = obstacle(nat=True)
pytestmark = [
    pytest.mark.swarm,
    pytest.mark.slow,
    pytest.mark.timeout(420),
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]

PORT = 4001
EVERYWHERE = f"/ip4/0.0.0.0/tcp/{PORT}"
DIAL_SECONDS = 3.0

Start = Callable[..., DhtTransport]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a node on a host."""
    with ExitStack() as stack:

        def begin(host: Host, bootstrap: tuple[str, ...] = (), **settings: Any) -> DhtTransport:
            chosen = DhtSettings(MANIFEST, bootstrap, log=tmp_path / f"{host.name}.log", **settings)
            with host.inside():  # the transport's thread stays there, and starts all its processes there
                transport = DhtTransport(chosen, tmp_path / f"{host.name}.key")
            stack.enter_context(closing(transport))
            transport.wait_ready(PATIENCE)
            return transport

        yield begin


def can_dial(host: Host, address: str, port: int) -> bool:
    with host.inside(), socket.socket() as dialling:
        dialling.settimeout(DIAL_SECONDS)
        try:
            dialling.connect((address, port))
        except OSError:
            return False
        return True


def ports_of(transport: DhtTransport) -> set[int]:
    return {Address.parse(address).port for address in transport.status().addresses}


def test_nodes_behind_two_nats_exchange_through_a_mirror(lab: Lab, start: Start) -> None:
    square, left, right = lab.host("square"), lab.host_behind_nat("left"), lab.host_behind_nat("right")
    hub = start(square, listen=(EVERYWHERE,))
    ways = hub.status().addresses
    assert f"/ip4/{square.address}/tcp/{PORT}/p2p/{hub.peer_id}" in ways
    hidden = {"listen": (EVERYWHERE,), "client_mode": True}
    ann, bea = start(left, ways, **hidden), start(right, ways, **hidden)

    # Both listen, and nobody outside their homes can dial them; each can dial the third.
    assert ports_of(ann) == ports_of(bea) == {PORT}
    assert can_dial(left, left.address, PORT) and can_dial(right, right.address, PORT)
    for caller, called in ((left, right), (right, left), (square, left), (square, right)):
        assert not can_dial(caller, called.seen_as, PORT), f"{caller.name} dials {called.name}"
    assert can_dial(left, square.address, PORT) and can_dial(right, square.address, PORT)

    bodies = {transport.peer_id: os.urandom(100_000) for transport in (ann, bea)}
    for one, other in ((ann, bea), (bea, ann)):
        made = one.publish(bodies[one.peer_id], SUMMARY)
        assert made.own_addresses == () and list(made.mirrors) == [hub.peer_id]
        until(lambda o=other, p=one, m=made: newest_of(o, p.peer_id) == m, "the announcement")  # type: ignore[misc]
        assert until_answered(other.fetch, made) == bodies[one.peer_id]
    until(lambda: hub.status().counters.get("mirrored") == 2, "the hub counts what it keeps")
    until(lambda: hub.status().counters.get("served") == 2, "the hub counts what it gave")


def test_nodes_that_do_not_listen_exchange_all_the_same(lab: Lab, start: Start) -> None:
    hub = start(lab.host("square"), listen=(EVERYWHERE,))
    hidden = {"listen": (), "client_mode": True}
    ways = hub.status().addresses
    ann, bea = (start(lab.host_behind_nat(name), ways, **hidden) for name in ("left", "right"))
    assert ann.status().addresses == bea.status().addresses == ()
    body = os.urandom(100_000)
    made = ann.publish(body, SUMMARY)
    until(lambda: newest_of(bea, ann.peer_id) == made, "the announcement")
    assert until_answered(bea.fetch, made) == body


def test_a_node_behind_a_nat_finds_out_and_leaves_its_bodies_with_a_mirror(lab: Lab, start: Start) -> None:
    hub = start(lab.host("square"), listen=(EVERYWHERE,))
    ways = hub.status().addresses
    ann, bea = (
        start(lab.host_behind_nat(name), ways, listen=(EVERYWHERE,), client_mode=None)
        for name in ("left", "right")
    )
    until(
        lambda: {ann.status().reach, bea.status().reach} == {Reachability.HIDDEN},
        "they know that they are hidden",
    )
    for transport in (ann, bea):
        transport.wait_ready(PATIENCE)  # each starts anew as a client
    body = os.urandom(100_000)
    made = ann.publish(body, SUMMARY)
    assert list(made.mirrors) == [hub.peer_id]
    until(lambda: newest_of(bea, ann.peer_id) == made, "the announcement")
    assert until_answered(bea.fetch, made) == body


def test_where_nobody_keeps_bodies_a_relay_carries_them(lab: Lab, start: Start) -> None:
    """go-libp2p reserves relay slots where addresses look public, as the lab's do; on loopback it does not."""
    hub = start(lab.host("square"), listen=(EVERYWHERE,), relay=True, serve=ServeLimits(mirrored=0))
    hidden = {"listen": (EVERYWHERE,), "client_mode": True}
    ways = hub.status().addresses
    ann, bea = (start(lab.host_behind_nat(name), ways, **hidden) for name in ("left", "right"))
    bodies = {transport.peer_id: os.urandom(100_000) for transport in (ann, bea)}
    for one, other in ((ann, bea), (bea, ann)):
        made = one.publish(bodies[one.peer_id], SUMMARY)
        assert made.addresses == ()
        until(lambda o=other, p=one, m=made: newest_of(o, p.peer_id) == m, "the announcement")  # type: ignore[misc]
        # The publisher's slot at the relay may not be reserved yet.
        assert until_answered(other.fetch, made) == bodies[one.peer_id]
    assert not {"mirrored", "served"} & set(hub.status().counters)
