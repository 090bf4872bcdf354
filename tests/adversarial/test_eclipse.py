"""Nodes that sit next to an epoch's key and hide what lies there: peers that have met go on exchanging."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from announcing import MANIFEST, announce

from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.errors import FetchFailed
from swarm.exchange.announcement_exchange import AnnouncementServer
from swarm.exchange.framing import Stream
from swarm.network.ipc import DhtSettings
from swarm.network.supervisor import PeerSupervisor
from swarm.wire.announcement import Announcement, epoch_of, shard_of
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address

OWN, ALICE, BOB, MALLORY = (Identity(bytes([number]) * 32) for number in range(1, 5))


def fresh(identity: Identity, age: float = 0.0) -> Announcement:
    created = time.time() - age
    epoch = epoch_of(created, MANIFEST.epoch_seconds)
    shard = shard_of(identity.peer_id, epoch, MANIFEST.shard_depth)
    place = f"/ip4/127.0.0.1/tcp/{4000 + identity.public_key[0]}"
    return announce(
        identity, created=created, expires=created + 600.0, epoch=epoch, shard=shard, addresses=(place,)
    )


class Network:
    """Alice and Bob answer questions; the DHT gives what `read` gives."""

    alone = False

    def __init__(self) -> None:
        self.replicas: Callable[[], list[object]] = list
        self.hang = False
        self.linked: set[str] = set()  # peers that there is a connection with
        self.asked: list[str] = []
        self.servers: dict[str, AnnouncementServer] = {}
        self._serving: set[asyncio.Task[None]] = set()

    def put_up(self, identity: Identity, heard: Sequence[Announcement]) -> None:
        """A peer that answers at once with its own newest announcement and what it heard."""
        store = AnnouncementStore(AnnouncementFilter(MANIFEST), identity.peer_id)
        store.add([a.encode() for a in heard])
        own = Membership.of(MANIFEST, b"", identity.peer_id)
        self.servers[identity.peer_id] = AnnouncementServer(own, store, lambda: fresh(identity))

    async def read(self, keys: Sequence[str]) -> list[object]:
        if self.hang:
            await asyncio.sleep(60.0)
        return self.replicas()

    async def is_connected(self, peer: str) -> bool:
        return False

    async def connected(self, peers: Iterable[str]) -> set[str]:
        return self.linked & set(peers)

    async def dial(self, protocol: str, peer: str, addresses: Sequence[str]) -> tuple[Stream, Address | None]:
        assert protocol == "/murmur/announcements/1" and addresses
        if peer not in self.servers:
            raise FetchFailed("cannot be reached")
        self.asked.append(peer)
        left, right = socket.socketpair()
        ours, theirs = await asyncio.open_connection(sock=left), await asyncio.open_connection(sock=right)
        serving = self.servers[peer].serve(OWN.peer_id, *theirs, "127.0.0.1")
        self._serving.add(asyncio.create_task(serving))
        return ours, Address.parse(addresses[0])


def node_in(folder: Path, network: Network, **settings: Any) -> PeerSupervisor:
    OWN.save(folder / "key")
    node = PeerSupervisor(DhtSettings(MANIFEST, **settings), folder / "key")
    node._daemon = network  # type: ignore[assignment]
    return node


@pytest.mark.parametrize("how", ["silence", "nothing", "only its own"])
def test_peers_that_have_met_are_heard_of_while_the_keys_are_hidden(tmp_path: Path, how: str) -> None:
    network = Network()
    old = fresh(ALICE, age=30.0)
    network.replicas = lambda: [old.encode()]

    async def run() -> tuple[list[Announcement], dict[str, int]]:
        node = node_in(tmp_path, network, call_timeout=0.6)
        assert [a.peer for a in await node.announcements(24)] == [ALICE.peer_id]
        network.put_up(ALICE, [fresh(BOB)])
        network.hang = how == "silence"
        network.replicas = lambda: [fresh(MALLORY).encode()] if how == "only its own" else []
        found = await node.announcements(24, (), [ALICE.peer_id])
        return found, node.state()["counters"]

    found, counters = asyncio.run(run())
    assert {ALICE.peer_id, BOB.peer_id} <= {a.peer for a in found}
    [newest] = [a for a in found if a.peer == ALICE.peer_id]
    assert newest.created > old.created
    assert (counters["asked"], counters["heard"]) == (1, 2)
    assert counters.get("read_timeouts", 0) == (how == "silence")


def test_a_look_ends_in_time_with_what_is_heard_of_where_neither_the_dht_nor_peers_answer(
    tmp_path: Path,
) -> None:
    """Both waits together took the whole time of a call, which failed then with all that was known."""
    network = Network()
    network.replicas = lambda: [fresh(ALICE).encode()]

    async def run() -> list[Announcement]:
        node = node_in(tmp_path, network, call_timeout=1.0)
        await node.announcements(24)
        network.hang = True

        async def stall(peer: str, addresses: Sequence[str]) -> Stream:
            await asyncio.sleep(60.0)
            raise AssertionError

        node._address_book.dialler = lambda *given: stall  # type: ignore[method-assign]
        node._known._due = 0.0
        return await asyncio.wait_for(node.announcements(24, (), [ALICE.peer_id]), 30.0)

    assert [a.peer for a in asyncio.run(run())] == [ALICE.peer_id]


def test_addresses_of_known_peers_outlive_their_announcements(tmp_path: Path) -> None:
    network = Network()

    async def run() -> list[Announcement]:
        node = node_in(tmp_path, network, call_timeout=5.0)
        network.replicas = lambda: [fresh(ALICE, age=30.0).encode()]
        await node.announcements(24)
        network.put_up(ALICE, [])
        await node.announcements(24, (), [ALICE.peer_id])
        node._announcements._newest.clear()
        node._announcements._crowds.clear()
        network.replicas = list
        return await node.announcements(24, (), [ALICE.peer_id])

    assert [a.peer for a in asyncio.run(run())] == [ALICE.peer_id]


def test_a_newcomer_asks_those_that_it_joined_through(tmp_path: Path) -> None:
    network = Network()
    network.put_up(ALICE, [fresh(BOB)])

    async def run() -> list[Announcement]:
        place = f"/ip4/127.0.0.1/tcp/4001/p2p/{ALICE.peer_id}"
        return await node_in(tmp_path, network, bootstrap=(place,)).announcements(24)

    assert {a.peer for a in asyncio.run(run())} == {ALICE.peer_id, BOB.peer_id}


def test_while_the_dht_brings_news_of_known_peers_few_questions_are_asked(tmp_path: Path) -> None:
    network = Network()
    network.put_up(ALICE, [])
    network.replicas = lambda: [fresh(ALICE).encode()]

    async def run() -> None:
        node = node_in(tmp_path, network)
        await node.announcements(24)
        for _ in range(10):
            await node.announcements(24, (), [ALICE.peer_id])

    asyncio.run(run())
    assert len(network.asked) <= 1
