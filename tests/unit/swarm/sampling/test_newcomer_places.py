"""Places are shared between networks, not between names."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.sampling.newcomer_places import _chances, _interleaved, fair_select, shares, subnet_of

HONEST = {f"honest-{n}": f"198.51.{n}.7" for n in range(6)}
ROUNDS = 2000


def _share_of(prefix: str, hosts: dict[str, str], known: set[str], count: int, groups: int = 3) -> float:
    """The share of the places that peers with such names get, over many draws."""
    generator = np.random.default_rng(5)
    offers = [peer for peer in hosts for _ in range(groups)]
    got: Counter[str] = Counter()
    for _ in range(ROUNDS):
        got.update(offers[i] for i in fair_select(offers, hosts, known.__contains__, count, generator))
    return sum(n for peer, n in got.items() if peer.startswith(prefix)) / got.total()


def test_a_subnet_is_what_one_customer_is_given() -> None:
    assert subnet_of("198.51.100.7") == subnet_of("198.51.100.200") != subnet_of("198.51.101.7")
    assert subnet_of("2001:db8:1:2::3") == subnet_of("2001:db8:1:ffff::1") != subnet_of("2001:db8:2::1")
    assert subnet_of("") == ""


def test_an_address_counts_once_and_a_subnet_four_times() -> None:
    one_host = shares({f"s{n}": "203.0.113.1" for n in range(20)})
    assert sum(one_host.values()) == pytest.approx(1)
    one_subnet = shares({f"s{n}": f"203.0.113.{n}" for n in range(20)})
    assert sum(one_subnet.values()) == pytest.approx(4)
    assert set(shares(HONEST).values()) == {1.0}


@pytest.mark.parametrize(
    ("before", "left"),  # last numbers of addresses in the subnet, and the share of each of two peers there
    [
        ((1, 2), 1.0),
        ((1, 2, 3), 0.5),
        ((1, 2, 3, 4), 0.0),
        ((1, 2, 3, 4, 5), 0.0),
        ((8, 9), 0.0),
        ((8, 9, 3, 4), 0.0),
    ],
)
def test_who_counts_first_leaves_the_rest_of_the_subnet(before: tuple[int, ...], left: float) -> None:
    hosts = {"eight": "203.0.113.8", "nine": "203.0.113.9"}
    found = shares(hosts, [f"203.0.113.{number}" for number in before])
    assert found == {"eight": left, "nine": left}


def test_who_is_sure_of_a_place_takes_it_from_the_others() -> None:
    assert _chances({"a": 1.0, "b": 0.1, "c": 0.1, "d": 0.1}, 2) == pytest.approx(
        {"a": 1.0, "b": 1 / 3, "c": 1 / 3, "d": 1 / 3}
    )


@pytest.mark.parametrize(
    ("more", "fewer", "mixed"),
    [
        ([0, 1, 2, 3], [4], [0, 1, 4, 2, 3]),
        ([0, 1, 2, 3, 4], [5], [0, 1, 2, 5, 3, 4]),
        ([0, 1, 2, 3, 4, 5], [6, 7], [0, 1, 6, 2, 3, 7, 4, 5]),
    ],
)
def test_newcomers_stand_evenly_between_the_others(
    more: list[int], fewer: list[int], mixed: list[int]
) -> None:
    assert _interleaved(more, fewer) == mixed


@pytest.mark.parametrize("count", [1, 2, 4, 8])
@pytest.mark.parametrize("known", ["nobody", "honest", "everybody", "honest and two", "honest and half"])
def test_twenty_names_on_one_address_get_no_more_than_their_address_is_worth(count: int, known: str) -> None:
    hosts = HONEST | {f"sybil-{n}": "203.0.113.1" for n in range(20)}
    sybils = sorted(set(hosts) - set(HONEST))
    some = {"honest and two": {*HONEST, *sybils[:2]}, "honest and half": {*HONEST, *sybils[:10]}}
    records = ({"nobody": set(), "honest": set(HONEST), "everybody": set(hosts)} | some)[known]
    assert _share_of("sybil", hosts, records, count) <= 0.21


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("names", [2, 6, 20, 40])
def test_names_at_one_address_together_get_what_one_peer_there_would(names: int, known: bool) -> None:
    """In a swarm as small as the arena's, where six names got more than twenty: all six had a record."""
    honest = {f"honest-{n}": f"198.51.{n}.7" for n in range(2)}
    hosts = honest | {f"sybil-{n}": "203.0.113.1" for n in range(names)}
    records = set(hosts) if known else set()
    assert _share_of("sybil", hosts, records, 2) <= 1 / 3 + 0.02


def test_known_peers_who_share_an_address_with_newcomers_keep_four_fifths() -> None:
    """Of a swarm on one machine: there the newcomers' share is theirs, and the rest is nobody else's."""
    hosts = {f"known-{n}": "127.0.0.1" for n in range(5)} | {f"new-{n}": "127.0.0.1" for n in range(3)}
    known = {peer for peer in hosts if peer.startswith("known")}
    assert _share_of("new", hosts, known, 4) == pytest.approx(0.2, abs=0.02)


def test_in_one_subnet_addresses_still_share_fairly() -> None:
    hosts = {f"honest-{n}": f"10.0.0.{n}" for n in range(6)} | {f"sybil-{n}": "10.0.0.99" for n in range(20)}
    assert _share_of("sybil", hosts, set(), 4) <= 0.27


def test_everybody_on_one_machine_is_drawn_alike() -> None:
    hosts = {f"peer-{n}": "127.0.0.1" for n in range(5)}
    assert [round(_share_of(f"peer-{n}", hosts, set(), 2), 1) for n in range(5)] == [0.2] * 5


def test_a_newcomer_is_heard_beside_many_known_peers() -> None:
    hosts = HONEST | {"newcomer": "192.0.2.1"}
    assert _share_of("newcomer", hosts, set(HONEST), 4) == pytest.approx(0.2, abs=0.02)
    assert _share_of("newcomer", hosts, set(HONEST), 1) == pytest.approx(0.2, abs=0.05)


def test_a_newcomer_is_heard_within_three_rounds() -> None:
    generator, hosts = np.random.default_rng(3), HONEST | {"newcomer": "192.0.2.1"}
    offers = [peer for peer in hosts for _ in range(3)]

    def heard() -> bool:
        rounds = (fair_select(offers, hosts, set(HONEST).__contains__, 4, generator) for _ in range(3))
        return any(offers[place] == "newcomer" for chosen in rounds for place in chosen)

    assert sum(heard() for _ in range(1000)) >= 980


def test_places_that_one_kind_leaves_go_to_the_other() -> None:
    generator = np.random.default_rng(1)
    for known in (set[str](), set(HONEST)):
        assert len(fair_select(list(HONEST), HONEST, known.__contains__, 6, generator)) == 6


@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=40),
    st.integers(0, 12),
    st.sets(st.sampled_from("abcdefgh")),
    st.integers(0, 99),
)
def test_a_draw_gives_distinct_places_and_fills_what_can_be_filled(
    offers: list[str], count: int, known: set[str], seed: int
) -> None:
    hosts = dict(
        zip("abcdefgh", ["", "", "10.0.0.1", "10.0.0.1", "10.0.0.2", "::1", "fe80::1", "host"], strict=True)
    )
    chosen = fair_select(offers, hosts, known.__contains__, count, np.random.default_rng(seed))
    assert len(set(chosen)) == len(chosen) == min(count, len(offers))
    assert all(0 <= place < len(offers) for place in chosen)
