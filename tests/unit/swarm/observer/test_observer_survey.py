"""A look at a swarm of scripted peers, some of them hostile; py-libp2p has no part in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import libp2p_or_skip  # noqa: F401
import msgpack
import pytest
import trio
from announcing import MANIFEST, NOW, announce

from swarm import limits
from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.errors import FetchFailed
from swarm.exchange.framing import HEADER, Status
from swarm.exchange.peer_stats import NodeStats
from swarm.observer import dht, kad, protobuf, survey
from swarm.observer.ipc import Done, Down, Figures, Offer, Report, Silent
from swarm.observer.survey import Survey
from swarm.wire.identity import Identity, peer_bytes
from swarm.wire.multiaddr import Address

ALICE, BOB, CAROL, MALLORY = (Identity.ephemeral() for _ in range(4))
STATS = NodeStats("0.1.0", 12.5, 3, 7, "tiny", 4, ()).encode()


class Bytes:
    """A stream that has said all it will."""

    def __init__(self, raw: bytes) -> None:
        self._left = raw

    async def read(self, n: int | None = None) -> bytes:
        part, self._left = self._left[:n], self._left[n:]
        return part


@dataclass
class Peer:
    """What one peer answers; None: it hangs up."""

    at: str
    values: list[bytes] = field(default_factory=list)
    nearest: list[str] = field(default_factory=list)
    stats: bytes | None = b"\0" + len(STATS).to_bytes(4, "big") + STATS
    find: bytes | None = None  # in place of what follows from `values` and `nearest`
    knows: dict[str, str] = field(default_factory=dict)  # where others listen

    def answer(self, protocol: str, request: bytes) -> bytes | None:
        if protocol == limits.STATS_PROTOCOL:
            return self.stats
        if protocol == kad.PROTOCOL:
            return self._whereabouts(request)
        return protobuf.delimited(self.find if self.find is not None else self._found(request))

    def _found(self, request: bytes) -> bytes:
        [unary] = protobuf.values(request[protobuf.read_varint(request, 0)[1] :], 3, most=2)
        [asked] = protobuf.values(unary, 3, most=3)
        keys = len(protobuf.values(asked, 2, most=20))
        entries = [[b"peer", msgpack.packb(value), 1.0] for value in self.values]
        value = msgpack.packb(msgpack.ExtType(0x50, msgpack.packb([None, 1.0, entries])))
        near = b"".join(
            protobuf.field(4, dht.key_id(peer)) + protobuf.field(5, peer_bytes(peer)) for peer in self.nearest
        )
        result = b"\x08\x02" + protobuf.field(2, value) + near
        return protobuf.field(4, protobuf.field(1, protobuf.field(2, result) * keys))

    def _whereabouts(self, request: bytes) -> bytes:
        entries = [
            protobuf.field(1, peer_bytes(peer)) + protobuf.field(2, kad.Multiaddr(place).to_bytes())
            for peer, place in self.knows.items()
            if peer_bytes(peer) in request
        ]
        return protobuf.delimited(b"".join(protobuf.field(8, entry) for entry in entries))


class FakeHost:
    """Knows where each peer listens, and what was dialled."""

    def __init__(self, peers: dict[str, Peer]) -> None:
        self.peers = peers
        self.dialled: list[str] = []
        self._connected: set[str] = set()

    def connected(self, peer: str) -> bool:
        return peer in self._connected

    async def connect(self, peer: str, addresses: Iterable[Address]) -> None:
        for address in addresses:
            self.dialled.append(str(address))
            if peer in self.peers and self.peers[peer].at == str(address):
                return self._connected.add(peer)
        raise FetchFailed("cannot be reached")

    async def ask(self, peer: str, protocol: str, request: bytes, read: Callable[..., Any]) -> Any:
        answer = self.peers[peer].answer(protocol, request) if peer in self.peers else None
        if answer is None:
            raise FetchFailed("no answer: StreamReset")
        try:
            return await read(Bytes(answer))
        except EOFError as error:
            raise FetchFailed("no answer: EOFError") from error


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey.time, "time", lambda: NOW + 1.0)
    monkeypatch.setattr(
        survey, "AnnouncementFilter", lambda manifest: AnnouncementFilter(manifest, clock=lambda: NOW + 1.0)
    )


def look(peers: dict[str, Peer], *bootstrap: str) -> tuple[list[Report], FakeHost]:
    host, reports = FakeHost(peers), list[Report]()
    trio.run(Survey(host, MANIFEST, bootstrap, b"").look, reports.append)  # type: ignore[arg-type]
    return reports, host


def invited(identity: Identity, place: str) -> str:
    return f"{place}/p2p/{identity.peer_id}"


HOME, NEXT, THIRD = (f"/ip4/10.0.0.{n}/tcp/4001" for n in (1, 2, 3))


def test_a_look_finds_nodes_reads_announcements_and_asks_everybody() -> None:
    offered = announce(BOB, addresses=(NEXT,))
    peers = {
        ALICE.peer_id: Peer(HOME, nearest=[BOB.peer_id, CAROL.peer_id], knows={CAROL.peer_id: THIRD}),
        BOB.peer_id: Peer(NEXT),
        CAROL.peer_id: Peer(THIRD, values=[offered.encode()]),
    }
    reports, _ = look(peers, invited(ALICE, HOME))
    assert Offer(offered.encode()) in reports
    assert {r.peer for r in reports if isinstance(r, Figures)} == set(peers)
    assert not [r for r in reports if isinstance(r, Silent)]
    assert isinstance(reports[-1], Done) and reports[-1].nodes == 3 and reports[-1].resident > 2**20


def test_what_does_not_pass_the_gate_is_counted_and_not_shown() -> None:
    good = announce(BOB)
    forged = bytearray(good.encode())
    forged[5] ^= 1
    foreign = announce(BOB, swarm="0" * 32).encode()
    peers = {ALICE.peer_id: Peer(HOME, values=[b"junk", bytes(forged), foreign, good.encode()])}
    reports, _ = look(peers, invited(ALICE, HOME))
    assert [r for r in reports if isinstance(r, Offer)] == [Offer(good.encode())]
    assert isinstance(reports[-1], Done)
    assert set(reports[-1].refused) == {"malformed", "signature", "swarm"}


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\xff" * 50,
        protobuf.field(4, protobuf.field(2, b"error")),
        protobuf.field(4, protobuf.field(1, b"")),
    ],
)
def test_a_node_that_answers_nonsense_is_one_node_less(hostile: bytes) -> None:
    good = announce(BOB)
    peers = {
        MALLORY.peer_id: Peer(HOME, find=hostile),
        ALICE.peer_id: Peer(NEXT, values=[good.encode()]),
    }
    reports, _ = look(peers, invited(MALLORY, HOME), invited(ALICE, NEXT))
    assert Offer(good.encode()) in reports
    assert isinstance(reports[-1], Done) and reports[-1].nodes == 1


@pytest.mark.parametrize(
    ("stats", "why"),
    [
        (None, "no answer: StreamReset"),
        (b"", "no answer: EOFError"),
        (HEADER.pack(Status.BUSY, 0), "busy"),
        (HEADER.pack(0, 2**31), "refused: an answer of"),
        (HEADER.pack(0, 3) + b"\x91\x91\x90", "refused: the asked node: no protocol version"),
        (
            HEADER.pack(Status.VERSION, 2) + b"\x91\x03",
            "refused: the asked node speaks protocol 3, this node 2",
        ),
        (HEADER.pack(9, 0), "refused: status"),
        (b"\0\0\0\0\xff" + STATS, "no answer: EOFError"),
    ],
)
def test_a_peer_without_figures_is_named_with_the_reason(stats: bytes | None, why: str) -> None:
    reports, _ = look({ALICE.peer_id: Peer(HOME, stats=stats)}, invited(ALICE, HOME))
    [silent] = [r for r in reports if isinstance(r, Silent)]
    assert silent.peer == ALICE.peer_id and silent.why.startswith(why)
    assert isinstance(reports[-1], Done)


def test_a_swarm_of_which_nobody_answers_is_down() -> None:
    reports, host = look({}, invited(ALICE, HOME), invited(BOB, "/dns4/gone.example/tcp/4001"))
    assert reports == [
        Down(
            "no bootstrap peer answers at 10.0.0.1:4001, gone.example:4001: "
            "check that it runs and that the address is right"
        )
    ]
    assert sorted(host.dialled) == ["/dns4/gone.example/tcp/4001", HOME]


def test_strangers_do_not_choose_private_hosts_from_a_public_swarm() -> None:
    public = "/ip4/8.8.8.8/tcp/4001"
    peers = {
        ALICE.peer_id: Peer(
            public,
            values=[announce(BOB, addresses=(NEXT,)).encode()],
            nearest=[CAROL.peer_id],
            knows={BOB.peer_id: THIRD, CAROL.peer_id: "/ip4/127.0.0.1/tcp/22"},
        ),
        BOB.peer_id: Peer(NEXT),
    }
    reports, host = look(peers, invited(ALICE, public))
    assert set(host.dialled) == {public}
    assert Silent(BOB.peer_id, "cannot be reached") in reports


def test_a_second_look_goes_on_without_the_bootstrap() -> None:
    async def scenario() -> tuple[list[Report], list[Report]]:
        peers = {
            ALICE.peer_id: Peer(HOME, nearest=[BOB.peer_id], knows={BOB.peer_id: NEXT}),
            BOB.peer_id: Peer(NEXT, values=[announce(CAROL).encode()]),
        }
        host = FakeHost(peers)
        watch = Survey(host, MANIFEST, [invited(ALICE, HOME)], b"")  # type: ignore[arg-type]
        first, second = list[Report](), list[Report]()
        await watch.look(first.append)
        del peers[ALICE.peer_id]
        await watch.look(second.append)
        return first, second

    first, second = trio.run(scenario)
    assert isinstance(first[-1], Done) and first[-1].nodes == 2
    assert isinstance(second[-1], Done) and second[-1].nodes == 1
    assert Offer(announce(CAROL).encode()) in second


def test_a_look_ends_though_peers_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "_READ_TIMEOUT", 0.1)
    monkeypatch.setattr(survey, "_ASK_TIMEOUT", 0.1)

    class Hanging(FakeHost):
        async def ask(self, peer: str, protocol: str, request: bytes, read: Callable[..., Any]) -> Any:
            if peer == BOB.peer_id or protocol == limits.STATS_PROTOCOL:
                await trio.sleep_forever()
            return await super().ask(peer, protocol, request, read)

    async def scenario() -> list[Report]:
        peers = {ALICE.peer_id: Peer(HOME, values=[announce(CAROL).encode()]), BOB.peer_id: Peer(NEXT)}
        reports = list[Report]()
        bootstrap = [invited(ALICE, HOME), invited(BOB, NEXT)]
        with trio.fail_after(5.0):
            await Survey(Hanging(peers), MANIFEST, bootstrap, b"").look(reports.append)  # type: ignore[arg-type]
        return reports

    kinds = [type(report) for report in trio.run(scenario)]
    assert kinds == [Offer, Silent, Done]  # nobody listens where carol should be
