"""Peers that cannot be dialled, swarms that are not open to all, ways back in: real daemons on 127.0.0.1."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from needs_libp2p import needs_libp2p
from patience import PATIENCE, until_answered
from test_dht_transport import MANIFEST, SUMMARY, newest_of, until

from swarm.errors import InviteError, TransportDown
from swarm.exchange.autonat import Reachability
from swarm.observer.client import Observer
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.announcement import Announcement
from swarm.wire.invite import Invite
from swarm.wire.membership import member_key, new_secret

pytestmark = pytest.mark.swarm

SECRET = new_secret()
PRIVATE = replace(MANIFEST, member_key=member_key(SECRET))

Start = Callable[..., DhtTransport]


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Starts a node of the given name; a name that was used before comes back with its key and peer cache."""
    with ExitStack() as stack:

        def begin(name: str, bootstrap: tuple[str, ...] = (), **settings: Any) -> DhtTransport:
            manifest = settings.pop("manifest", MANIFEST)
            cache, log = tmp_path / f"{name}.peers", tmp_path / f"{name}.log"
            chosen = DhtSettings(manifest, bootstrap, peer_cache=cache, log=log, **settings)
            transport = stack.enter_context(closing(DhtTransport(chosen, tmp_path / f"{name}.key")))
            transport.wait_ready(PATIENCE)
            return transport

        yield begin


def test_peers_that_nobody_can_dial_exchange_through_a_mirror(start: Start) -> None:
    hub = start("hub")
    ways = hub.status().addresses
    hidden = {"listen": (), "client_mode": True}
    ann, bea = start("ann", ways, **hidden), start("bea", ways, **hidden)
    bodies = {t.peer_id: os.urandom(100_000) for t in (ann, bea)}
    for one, other in ((ann, bea), (bea, ann)):
        made = one.publish(bodies[one.peer_id], SUMMARY)
        assert made.own_addresses == () and list(made.mirrors) == [hub.peer_id]
        until(lambda o=other, p=one, m=made: newest_of(o, p.peer_id) == m, "the announcement")  # type: ignore[misc]
        assert until_answered(other.fetch, made) == bodies[one.peer_id]
    until(lambda: hub.status().counters.get("mirrored") == 2, "the hub counts what it keeps")
    ann.close()
    made = newest_of(bea, ann.peer_id)
    late = start("late", ways)
    assert made
    assert until_answered(late.fetch, made) == bodies[ann.peer_id], (
        "the mirror has it when its publisher is gone"
    )


def test_only_members_take_part_in_a_private_swarm(start: Start) -> None:
    private = {"manifest": PRIVATE, "secret": SECRET}
    ann = start("ann", **private)
    ways = ann.status().addresses
    bea = start("bea", ways, **private)
    body = os.urandom(1000)
    made = ann.publish(body, SUMMARY)
    until(lambda: newest_of(bea, ann.peer_id) == made, "the announcement")
    assert until_answered(bea.fetch, made) == body
    with pytest.raises(InviteError, match="whole invite"):
        start("mallory", ways, manifest=PRIVATE)


@needs_libp2p
def test_who_has_the_invite_of_a_private_swarm_may_look_from_outside(start: Start) -> None:
    ann = start("ann", manifest=PRIVATE, secret=SECRET)
    made = ann.publish(os.urandom(1000), SUMMARY)
    with closing(Observer(Invite(PRIVATE, ann.status().addresses, SECRET))) as observer:
        look = observer.look(PATIENCE)
    assert made in look.announcements and ann.peer_id in look.stats


def test_a_node_comes_back_through_its_peer_cache_when_its_bootstrap_is_gone(
    start: Start, tmp_path: Path
) -> None:
    hub = start("hub")
    ways = hub.status().addresses
    ann, bea = start("ann", ways), start("bea", ways)
    for transport in (ann, bea):
        transport.publish(os.urandom(1000), SUMMARY)
    until(lambda: newest_of(bea, ann.peer_id) and newest_of(ann, bea.peer_id), "they know each other")
    cache = tmp_path / "ann.peers"
    until(lambda: cache.is_file() and bea.peer_id in cache.read_text(), "ann keeps bea's address on disk")
    hub.close()
    ann.close()
    again = start("ann", ways)
    made = bea.publish(os.urandom(1000), SUMMARY)
    until(lambda: newest_of(again, bea.peer_id) == made, "bea's announcement, without any bootstrap")


def test_ipv6_works_as_ipv4_does(start: Start) -> None:
    ann = start("ann", listen=("/ip6/::1/tcp/0",))
    assert all(address.startswith("/ip6/::1/tcp/") for address in ann.status().addresses)
    bea = start("bea", ann.status().addresses, listen=("/ip6/::1/tcp/0",))
    body = os.urandom(1000)
    made = ann.publish(body, SUMMARY)
    until(lambda: newest_of(bea, ann.peer_id) == made, "the announcement")
    assert until_answered(bea.fetch, made) == body


def test_a_node_that_peers_can_dial_learns_it(start: Start) -> None:
    ann = start("ann")
    bea = start("bea", ann.status().addresses)
    until(lambda: bea.status().reach is Reachability.OPEN, "ann dials bea back")


def test_a_node_that_peers_cannot_dial_takes_mirrors_by_itself(start: Start) -> None:
    hub = start("hub")
    wrong = f"/ip4/127.0.0.1/tcp/{free_port()}"  # a port forward that leads nowhere
    ann = start("ann", hub.status().addresses, announce=(wrong,))
    until(lambda: ann.status().reach is Reachability.HIDDEN, "the hub cannot dial ann")
    body = os.urandom(1000)
    ann.wait_ready(PATIENCE)
    made: list[Announcement] = []
    until(lambda: publish_again(ann, body, made), "ann is back and publishes")
    assert made[-1].own_addresses == () and list(made[-1].mirrors) == [hub.peer_id]
    bea = start("bea", hub.status().addresses)
    until(lambda: newest_of(bea, ann.peer_id) == made[-1], "ann's announcement")
    assert until_answered(bea.fetch, made[-1]) == body


def publish_again(transport: DhtTransport, body: bytes, made: list[Announcement]) -> bool:
    """Whether `transport`, which may be starting anew, has published `body`."""
    try:
        made.append(transport.publish(body, SUMMARY))
    except TransportDown:
        return False
    return bool(made[-1].mirrors)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
