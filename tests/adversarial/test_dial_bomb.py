"""Announcements that name a victim's address: a node knocks there a few times a minute, however many announce it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest
from announcing import MANIFEST, NOW

from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.errors import FetchFailed
from swarm.exchange.framing import Stream
from swarm.network.address_book import AddressBook
from swarm.network.dial_budget import OF_ANNOUNCER, OF_HOST, OF_HOST_AT_ONCE, OF_TARGET, DialBudget
from swarm.network.ipc import DhtSettings
from swarm.network.p2p_daemon import Daemon
from swarm.wire.identity import Identity
from swarm.wire.multiaddr import Address, parse_known

VICTIM = "/ip4/203.0.113.9/tcp/443"
OWN, FRIEND = Identity(bytes(32)).peer_id, Identity(bytes([9]) * 32).peer_id


class Wire:
    """Stands in for the daemon: nothing answers, but for what speaks, where it is told.

    As libp2p does, it dials all addresses that it was ever told of a peer.
    """

    def __init__(self) -> None:
        self.knocks: list[str] = []
        self.speaking: set[str] = set()
        self.reached: Address | None = None  # over a connection that the peer had opened
        self._told: dict[str, dict[str, None]] = {}

    async def is_connected(self, peer: str) -> bool:
        return self.reached is not None

    async def dial(self, protocol: str, peer: str, addresses: Sequence[str]) -> tuple[Stream, Address | None]:
        told = self._told.setdefault(peer, {})
        told.update(dict.fromkeys(addresses))
        if not self.reached:
            self.knocks += told
        if self.reached:
            return cast(Stream, (None, None)), self.reached
        for address in addresses:
            if address in self.speaking:
                return cast(Stream, (None, None)), parse_known([address])[0]
        raise FetchFailed("cannot be reached")

    async def connect(self, addresses: Sequence[Address]) -> None:
        self.knocks += [str(a.without_peer()) for a in addresses]


def book() -> AddressBook:
    store = AnnouncementStore(AnnouncementFilter(MANIFEST, lambda: NOW), OWN)
    settings = DhtSettings(
        MANIFEST, (f"/ip4/198.51.100.1/tcp/4001/p2p/{FRIEND}",), announce=("/ip4/8.8.8.8/tcp/4001",)
    )
    return AddressBook(settings, MANIFEST.swarm_id, OWN, store)


def dial_all(address_book: AddressBook, wire: Wire, offers: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Dials for each (announcing peer, addresses); gives the reasons of those that failed."""

    async def run() -> list[str]:
        failed = []
        for announcer, addresses in offers:
            dial = address_book.dialler(cast(Daemon, wire), "/murmur/fetch/1", announcer)
            try:
                await dial(announcer, addresses)
            except FetchFailed as error:
                failed.append(str(error))
        return failed

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def everything_may_be_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AddressBook, "may_dial", lambda self, address: True)  # documentation addresses


def test_a_thousand_announcements_of_one_address_are_a_few_dials() -> None:
    address_book, wire = book(), Wire()
    failed = dial_all(address_book, wire, [(f"sybil{n}", [VICTIM]) for n in range(1000)])
    assert wire.knocks == [VICTIM] * OF_TARGET
    assert address_book.budget.counters["dial_budget"] == 1000 - OF_TARGET
    assert failed[-1] == "its addresses were dialled in vain too often of late"


def test_many_ports_of_one_host_and_many_hosts_of_one_announcer_are_bounded() -> None:
    address_book, wire = book(), Wire()
    dial_all(address_book, wire, [(f"sybil{n}", [f"/ip4/203.0.113.9/tcp/{n + 1}"]) for n in range(500)])
    assert len(wire.knocks) == OF_HOST_AT_ONCE
    dial_all(address_book, wire, [("mallory", [f"/ip4/203.0.{n}.9/tcp/1"]) for n in range(114, 250)])
    assert OF_ANNOUNCER // 2 < len(wire.knocks) - OF_HOST_AT_ONCE <= OF_ANNOUNCER


def test_no_minute_holds_more_dials_at_a_host_than_its_budget() -> None:
    """A burst after a pause and what came back meanwhile made 18 of 16."""
    now = [0.0]
    budget = DialBudget(clock=lambda: now[0])
    dials = []
    for tick in range(1800):
        now[0] = 0.1 * tick
        target = Address("ip4", "203.0.113.9", 1 + tick)
        dials += [now[0]] * len(budget.within(f"p{tick}", [target], f"p{tick}"))
    most = max(sum(start <= at < start + 60.0 for at in dials) for start in dials)
    assert OF_HOST - 2 <= most <= OF_HOST


def test_what_libp2p_was_told_of_a_peer_before_counts_with_its_next_dial() -> None:
    """It dials all of them again: 16 dials a minute at the victim came to 23."""
    address_book, wire = book(), Wire()
    ports = [f"/ip4/203.0.113.9/tcp/{n + 1}" for n in range(3)]
    for _ in range(8):  # a peer after the other, and back again, each time at another of its ports
        dial_all(address_book, wire, [(f"sybil{n}", [port]) for port in ports for n in range(20)])
    assert len(wire.knocks) <= OF_HOST_AT_ONCE


def test_who_speaks_is_dialled_freely_and_hides_no_other_port_of_its_host() -> None:
    address_book, wire = book(), Wire()
    wire.speaking = {"/ip4/203.0.113.9/tcp/4001"}
    offers = [("alice", ["/ip4/203.0.113.9/tcp/4001"])] * 50
    assert dial_all(address_book, wire, offers) == []
    wire.knocks.clear()
    dial_all(address_book, wire, [(f"sybil{n}", [VICTIM]) for n in range(50)])
    assert wire.knocks == [VICTIM] * OF_TARGET


def test_an_answer_over_another_connection_vouches_for_no_address_that_was_named() -> None:
    address_book, wire = book(), Wire()
    wire.reached = Address("ip4", "192.0.2.1", 5000)
    assert dial_all(address_book, wire, [("mallory", [VICTIM])]) == []
    wire.reached = None
    dial_all(address_book, wire, [(f"sybil{n}", [VICTIM]) for n in range(50)])
    assert wire.knocks == [VICTIM] * OF_TARGET


def test_a_peer_that_opened_the_connection_itself_is_dialled_where_it_says_it_listens() -> None:
    """Its own port is another then: its bodies were refused after a few, as its target had never spoken."""
    address_book, wire = book(), Wire()
    wire.reached = Address("ip4", "192.0.2.1", 50123)
    assert dial_all(address_book, wire, [("alice", ["/ip4/192.0.2.1/tcp/4001"])] * 50) == []


def test_ports_that_a_peer_once_named_at_its_own_host_are_free_no_more_once_a_dial_fails() -> None:
    address_book, wire = book(), Wire()
    wire.reached = Address("ip4", "203.0.113.9", 50123)
    dial_all(address_book, wire, [("mallory", [VICTIM])])
    wire.reached, wire.knocks = None, []
    dial_all(address_book, wire, [(f"sybil{n}", [VICTIM]) for n in range(50)])
    assert wire.knocks == [VICTIM] * (1 + OF_TARGET)


def test_rejoining_through_announced_addresses_keeps_the_budget_and_configured_peers_are_free() -> None:
    address_book, wire = book(), Wire()
    victim = Address.parse(f"{VICTIM}/p2p/{OWN}")
    friend = Address.parse(f"/ip4/198.51.100.1/tcp/4001/p2p/{FRIEND}")

    async def run() -> None:
        for _ in range(50):
            await address_book.connect(cast(Daemon, wire), [victim, friend])

    asyncio.run(run())
    assert wire.knocks.count(VICTIM) == OF_TARGET
    assert wire.knocks.count("/ip4/198.51.100.1/tcp/4001") == 50


def test_budgets_come_back_and_memory_is_bounded() -> None:
    now = [0.0]
    budget = DialBudget(clock=lambda: now[0])
    target = Address("ip4", "203.0.113.9", 1)
    taken = [bool(budget.within(f"p{n}", [target], f"p{n}")) for n in range(6)]
    assert taken == [True] * OF_TARGET + [False] * (6 - OF_TARGET)
    now[0] = 15.0
    assert budget.within("another", [target], "another") == [target]
    for n in range(5000):
        budget.note_spoke([Address("ip4", f"10.{n // 250}.{n % 250}.1", 1)])
    assert len(budget._spoken) == len(budget._speaking_hosts) == 4096
