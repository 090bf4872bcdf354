"""Places are held for who is there, whether or not they have something: nobody grows into what others leave."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.sampling.held_places import LEAST_PLACES, HeldPlaces
from swarm.sampling.newcomer_places import fair_select, subnet_of

SYBILS = {f"sybil-{n}": "203.0.113.1" for n in range(20)}
TWO = {f"honest-{n}": f"198.51.{n}.7" for n in range(2)}
ROUNDS = 2000


def drawn(
    offers: list[str], hosts: dict[str, str], sources: dict[str, str], count: int = 4, seed: int = 0
) -> Counter[str]:
    """Groups by peer of one draw in which places are held for `sources`, who are known."""
    generator = np.random.default_rng(seed)
    held = HeldPlaces.among(sources, count, generator)
    places = fair_select(offers, hosts, sources.__contains__, count, generator, held)
    assert len(set(places)) == len(places)
    return Counter(offers[place] for place in places)


@pytest.mark.parametrize("known", [True, False])
def test_names_at_one_address_do_not_fill_what_honest_peers_leave(known: bool) -> None:
    """Two honest peers of which none has anything now: a third of four places, and newcomers a fifth."""
    hosts = TWO | SYBILS
    sources = hosts if known else TWO
    taken = [drawn(sorted(SYBILS), hosts, sources, seed=seed).total() for seed in range(ROUNDS)]
    assert max(taken) <= 2
    assert np.mean(taken) == pytest.approx(4 / 3 if known else 0.8, abs=0.05)


def test_nothing_stays_empty_where_all_have_enough() -> None:
    hosts = TWO | {"third": "192.0.2.1"}
    offers = [peer for peer in hosts for _ in range(4)]
    totals = sum((drawn(offers, hosts, hosts, seed=seed) for seed in range(ROUNDS)), Counter[str]())
    assert totals.total() == 4 * ROUNDS
    assert all(totals[peer] == pytest.approx(4 * ROUNDS / 3, rel=0.05) for peer in hosts)


def test_a_single_peer_has_all_places() -> None:
    assert drawn(["alice"] * 9, {"alice": "192.0.2.1"}, {"alice": "192.0.2.1"}) == {"alice": 4}


def test_of_many_peers_each_may_give_one() -> None:
    """Ten share four places, and the two of them that have something are heard, if for a group each."""
    hosts = {f"peer-{n}": f"198.51.{n}.7" for n in range(10)}
    for seed in range(50):
        found = drawn([peer for peer in ("peer-3", "peer-7") for _ in range(5)], hosts, hosts, seed=seed)
        assert set(found) == {"peer-3", "peer-7"} and found.total() <= 4


def test_everybody_on_one_machine_is_one_source() -> None:
    hosts = {f"peer-{n}": "127.0.0.1" for n in range(5)}
    assert drawn(["peer-2"] * 6, hosts, hosts) == {"peer-2": 4}


def test_many_addresses_of_one_subnet_have_what_four_peers_have() -> None:
    hosts = TWO | {f"sybil-{n}": f"203.0.113.{n}" for n in range(40)}
    offers = [peer for peer in hosts if peer.startswith("sybil") for _ in range(3)]
    most = [drawn(offers, hosts, hosts, count=12, seed=seed).total() for seed in range(50)]
    assert max(most) <= 8  # four parts of six


HOSTS = dict(
    zip("abcdefgh", ["", "", "10.0.0.1", "10.0.0.1", "10.0.0.2", "::1", "fe80::1", "host"], strict=True)
)


@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=40),
    st.sets(st.sampled_from("abcdefgh"), min_size=1),
    st.integers(0, 12),
    st.integers(0, 99),
)
def test_no_host_and_no_subnet_goes_beyond_what_it_has(
    offers: list[str], known: set[str], count: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    held = HeldPlaces.among({peer: HOSTS[peer] for peer in known}, count, generator)
    assert sum(held.of_host.values()) == sum(held.of_subnet.values()) == count
    places = fair_select(offers, HOSTS, known.__contains__, count, generator, held)
    assert len(set(places)) == len(places) <= min(count, len(offers))
    hosts = Counter(HOSTS[offers[place]] for place in places)
    assert all(taken <= max(LEAST_PLACES, held.of_host.get(host, 0)) for host, taken in hosts.items())
    subnets = Counter(subnet_of(host) for host in hosts.elements())
    assert all(taken <= max(LEAST_PLACES, held.of_subnet.get(net, 0)) for net, taken in subnets.items())
    newcomers = sum(offers[place] not in known for place in places)
    assert newcomers <= count - int(0.8 * count)
