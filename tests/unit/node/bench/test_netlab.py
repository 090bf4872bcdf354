"""The network lab's pure parts: what becomes of a packet, and whose a namespace is."""

from __future__ import annotations

import os

import pytest

from node.bench.netlab.names import Owner, left_behind, namespace_name
from node.bench.netlab.wire import Line, LinkConditions, destination_of, opening_of

ALICE, BOB, CAROL = "45.10.7.1", "45.11.7.1", "45.12.7.1"


def test_a_calm_internet_delivers_at_once() -> None:
    assert LinkConditions().delay(ALICE, BOB, draw=0.0) == 0.0


def test_a_line_delays_and_loses_what_its_host_sends() -> None:
    rough = LinkConditions(lines={ALICE: Line(loss=0.3, delay=0.2)})
    assert [rough.delay(ALICE, BOB, draw) for draw in (0.0, 0.299, 0.3, 0.999)] == [None, None, 0.2, 0.2]
    assert rough.delay(BOB, ALICE, draw=0.0) == 0.0


def test_a_cut_host_neither_sends_nor_receives() -> None:
    cut = LinkConditions(cut=frozenset({BOB}))
    assert [cut.delay(*way, draw=0.9) for way in ((ALICE, BOB), (BOB, ALICE), (ALICE, CAROL))] == [
        None,
        None,
        0.0,
    ]


def test_an_island_and_the_mainland_talk_among_themselves_only() -> None:
    parted = LinkConditions(island=frozenset({ALICE, BOB}))
    assert parted.delay(ALICE, BOB, draw=0.9) == 0.0
    assert parted.delay(CAROL, CAROL, draw=0.9) == 0.0
    assert parted.delay(ALICE, CAROL, draw=0.9) is None
    assert parted.delay(CAROL, BOB, draw=0.9) is None


def test_only_ipv4_packets_have_a_destination() -> None:
    header = bytes([0x45]) + bytes(11) + bytes([45, 10, 7, 1]) + bytes([45, 11, 7, 1])
    assert destination_of(header + b"payload") == BOB
    assert destination_of(header[:-1]) is None
    assert destination_of(bytes([0x60]) + bytes(39)) is None
    assert destination_of(b"") is None


def test_connections_are_counted_by_the_packet_that_opens_them() -> None:
    def tcp(flags: int, words: int = 5, protocol: int = 6) -> bytes:
        header = bytes([0x40 + words]) + bytes(8) + bytes([protocol]) + bytes(4 * words - 10)
        return header + b"\x0f\xa1\x01\xbb" + bytes(9) + bytes([flags]) + bytes(6)

    assert opening_of(tcp(2)) == opening_of(tcp(2, words=7)) == b"\x0f\xa1\x01\xbb"
    assert opening_of(tcp(18)) is None, "the answer to one"
    assert opening_of(tcp(2, protocol=17)) is None and opening_of(tcp(2)[:30]) is None


def test_what_dead_labs_left_is_found_and_nothing_else() -> None:
    living, dead = Owner(10, 500), Owner(11, 600)
    again = Owner(10, 700)  # the number was used again
    names = [namespace_name(owner, 1, "node-1") for owner in (living, dead, again)]
    others = ["vpn", "murmur-lab", f"{names[1]} ", "murmur-lab-11-600-1-", "my-murmur-lab-11-600-1-a"]
    assert left_behind([*names, *others], lambda owner: owner == living) == names[1:]


def test_an_owner_lives_as_long_as_its_process() -> None:
    own = Owner.of(os.getpid())
    assert own is not None and own.alive
    assert not Owner(own.pid, own.started + 1).alive
    assert Owner.of(2**22 + 1) is None  # beyond the highest process number of Linux


@pytest.mark.parametrize("host", ["", "Node", "a/b", "../a", "a" * 33])
def test_a_host_whose_name_could_not_be_found_again_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="name"):
        namespace_name(Owner(1, 1), 1, host)
