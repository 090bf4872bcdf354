"""Places are held for who is there, whether or not they have something: nobody grows into what others leave."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.sampling.held_places import LEAST_PLACES, SAVED_ROUNDS, HeldPlaces
from swarm.sampling.newcomer_places import fair_select, subnet_of

SYBILS = {f"sybil-{n}": "203.0.113.1" for n in range(20)}
TWO = {f"honest-{n}": f"198.51.{n}.7" for n in range(2)}


def drawn(
    offers: list[str], hosts: dict[str, str], sources: dict[str, str], count: int = 4, rounds: int = 300
) -> Counter[str]:
    """Groups by peer of so many draws in which places are held for `sources`, who are known; all have enough anew."""
    generator, held, found = np.random.default_rng(0), HeldPlaces(), Counter[str]()
    for _ in range(rounds):
        held.begin(sources, count)
        places = fair_select(offers, hosts, sources.__contains__, count, generator, held)
        assert len(set(places)) == len(places)
        found.update(offers[place] for place in places)
    return found


@pytest.mark.parametrize(("known", "share"), [(True, 4 / 3), (False, 0.8)])
def test_names_at_one_address_do_not_fill_what_honest_peers_leave(known: bool, share: float) -> None:
    """Two honest peers of which none has anything: a third of four places, and newcomers a fifth."""
    hosts = TWO | SYBILS
    taken = drawn(sorted(SYBILS), hosts, hosts if known else TWO).total() / 300
    assert taken == pytest.approx(share, abs=0.07)


def test_nothing_stays_empty_where_all_have_enough() -> None:
    hosts = TWO | {"third": "192.0.2.1"}
    totals = drawn([peer for peer in hosts for _ in range(4)], hosts, hosts)
    assert totals.total() >= 4 * 300 - 4  # thirds of places are saved up first
    assert all(totals[peer] == pytest.approx(400, rel=0.1) for peer in hosts)


def test_a_single_peer_has_all_places() -> None:
    assert drawn(["alice"] * 9, {"alice": "192.0.2.1"}, {"alice": "192.0.2.1"}, rounds=1) == {"alice": 4}


def test_who_left_places_makes_up_for_them_later_and_for_no_more_than_some_rounds() -> None:
    generator, held = np.random.default_rng(0), HeldPlaces()
    for _ in range(50):
        held.begin(TWO, 4)  # nobody has anything
    given = []
    for _ in range(20):
        held.begin(TWO, 4)
        given.append(len(fair_select(["honest-0"] * 9, TWO, TWO.__contains__, 4, generator, held)))
    assert given[:2] == [4, 4] and given[-1] == 2
    assert sum(given) == 2 * 19 + SAVED_ROUNDS * 2


def test_of_many_peers_each_may_give_one() -> None:
    """Ten share four places, and the two of them that have something are heard, if for a group each."""
    hosts = {f"peer-{n}": f"198.51.{n}.7" for n in range(10)}
    found = drawn([peer for peer in ("peer-3", "peer-7") for _ in range(5)], hosts, hosts, rounds=50)
    assert found == {"peer-3": 50, "peer-7": 50}


def test_everybody_on_one_machine_is_one_source() -> None:
    hosts = {f"peer-{n}": "127.0.0.1" for n in range(5)}
    assert drawn(["peer-2"] * 6, hosts, hosts, rounds=3) == {"peer-2": 12}


def test_many_addresses_of_one_subnet_have_what_four_peers_have() -> None:
    hosts = TWO | {f"sybil-{n}": f"203.0.113.{n}" for n in range(40)}
    offers = [peer for peer in hosts if peer.startswith("sybil") for _ in range(3)]
    assert drawn(offers, hosts, hosts, count=12, rounds=50).total() <= 8 * (50 + SAVED_ROUNDS)


HOSTS = dict(
    zip("abcdefgh", ["", "", "10.0.0.1", "10.0.0.1", "10.0.0.2", "::1", "fe80::1", "host"], strict=True)
)


def test_a_restart_changes_nothing() -> None:
    before, after = HeldPlaces(), HeldPlaces()
    before.begin(TWO, 5)
    before.take(TWO["honest-0"])
    after.restore(json.loads(json.dumps(before.snapshot())))
    for held in (before, after):
        held.begin(TWO, 5)
    assert before.snapshot() == after.snapshot() and sum(before.snapshot()["hosts"].values()) == 9.0


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abcdefgh"), max_size=24),
            st.sets(st.sampled_from("abcdefgh"), min_size=1),
            st.integers(0, 12),
        ),
        max_size=8,
    ),
    st.integers(0, 99),
)
def test_no_host_and_no_subnet_goes_beyond_what_it_has(
    rounds: list[tuple[list[str], set[str], int]], seed: int
) -> None:
    """Whatever is offered by whom, in rounds with other sources each time."""
    generator, held = np.random.default_rng(seed), HeldPlaces()
    for offers, known, count in rounds:
        held.begin({peer: HOSTS[peer] for peer in known}, count)
        assert sum(held.hosts.saved.values()) <= SAVED_ROUNDS * count + 1e-6
        saved, of_subnet = dict(held.hosts.saved), dict(held.subnets.saved)
        places = fair_select(offers, HOSTS, known.__contains__, count, generator, held)
        assert len(set(places)) == len(places) <= min(count, len(offers))
        hosts = Counter(HOSTS[offers[place]] for place in places)
        assert all(given <= max(LEAST_PLACES, saved.get(host, 0.0) + 1e-6) for host, given in hosts.items())
        nets = Counter(subnet_of(host) for host in hosts.elements())
        assert all(given <= max(LEAST_PLACES, of_subnet.get(net, 0.0) + 1e-6) for net, given in nets.items())
        assert sum(offers[place] not in known for place in places) <= count - int(0.8 * count)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 6))
def test_over_any_rounds_an_address_has_its_share_of_their_places_and_what_it_had_saved(
    honest: list[int], count: int
) -> None:
    """Names at one address always have enough; two honest peers have what they have."""
    hosts = TWO | SYBILS
    generator, held, taken = np.random.default_rng(0), HeldPlaces(), 0
    for waiting in honest:
        held.begin(hosts, count)
        offers = sorted(SYBILS) + ["honest-0"] * waiting
        places = fair_select(offers, hosts, hosts.__contains__, count, generator, held)
        taken += sum(offers[place] in SYBILS for place in places)
        least = max(LEAST_PLACES, count / 3)
        assert taken <= least * len(honest) + SAVED_ROUNDS * count / 3
