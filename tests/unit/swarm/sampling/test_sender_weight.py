"""No input of one peer changes its share of an update beyond that of as many own groups."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.advantage import group_relative
from policies.rollout import Finish, Group, Problem, Rollout, Segment, TrainGroup
from swarm.sampling.sender_weight import fair_size, fair_weights, mass

PROBLEM = Problem("count", 1, "prompt", "answer")


def _group(rewards: list[float], lengths: list[int], origin: str | None = None) -> Group:
    rollouts = tuple(
        Rollout("x" * n, (Segment(0, tuple(range(n))),), Finish.STOP, reward)
        for reward, n in zip(rewards, lengths, strict=True)
    )
    return Group(PROBLEM, rollouts, origin)


def _member(rewards: list[float], length: int = 4, origin: str | None = None) -> TrainGroup:
    group = _group(rewards, [length] * len(rewards), origin)
    return TrainGroup(group, group_relative(group.rewards))


def _generator() -> np.random.Generator:
    return np.random.default_rng(7)


def test_a_large_group_is_cut_to_the_size_of_an_own_one_and_keeps_its_spread() -> None:
    group = _group([1.0] * 256 + [0.0] * 768, [3] * 1024, "mallory")
    cut = fair_size(group, 8, _generator())
    assert len(cut.rollouts) == 8
    assert cut.mean_reward == 0.25
    assert cut.origin == "mallory"


def test_the_only_right_rollout_of_many_stays() -> None:
    for place in (0, 17, 1023):
        rewards = [0.0] * 1024
        rewards[place] = 1.0
        assert sum(fair_size(_group(rewards, [3] * 1024), 8, _generator()).rewards) == 1.0


def test_a_group_of_the_own_size_or_less_is_kept_as_it_is() -> None:
    group = _group([1.0, 0.0, 0.5], [1, 2, 3])
    assert fair_size(group, 3, _generator()) is group
    with pytest.raises(ValueError, match="nothing to compare"):
        fair_size(group, 1, _generator())


def test_which_of_equal_rollouts_are_kept_does_not_follow_their_order() -> None:
    group = _group([1.0] * 50 + [0.0] * 50, list(range(1, 101)))
    cuts = {fair_size(group, 4, np.random.default_rng(seed)).rollouts for seed in range(20)}
    assert len(cuts) > 10


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=80), st.integers(2, 12), st.integers(0, 99))
def test_a_cut_group_has_distinct_rollouts_with_the_best_and_the_worst(
    rewards: list[float], size: int, seed: int
) -> None:
    group = _group(rewards, list(range(1, len(rewards) + 1)))
    cut = fair_size(group, size, np.random.default_rng(seed))
    assert len(cut.rollouts) == min(size, len(rewards)) == len({r.text for r in cut.rollouts})
    assert {min(rewards), max(rewards)} <= set(cut.rewards)


def test_padding_and_numbers_bring_an_external_group_no_more_weight_than_an_own_one() -> None:
    own = [_member([1.0, 0.0] * 4) for _ in range(4)]
    hostile = [_member([1.0, 0.0] * 512, 512, "mallory"), _member([1.0, 0.0], 512, "mallory")]
    honest = [_member([1.0, 0.0] * 4, 4, "bob")]
    weighed = fair_weights([*own, *hostile, *honest])
    masses = [mass(member) for member in weighed]
    assert weighed[:4] == own
    assert weighed[6] == honest[0]
    assert masses[4] == pytest.approx(masses[0]) == masses[5] == pytest.approx(masses[6])


def test_without_a_signal_of_its_own_a_node_holds_its_peers_to_each_other() -> None:
    flat = TrainGroup(_group([1.0] * 8, [4] * 8), (0.0,) * 8)
    bob, carol = _member([1.0, 0.0] * 4, 4, "bob"), _member([1.0, 0.0] * 4, 4, "carol")
    weighed = fair_weights([flat, bob, carol, _member([1.0, 0.0] * 4, 400, "mallory")])
    assert mass(weighed[3]) == pytest.approx(mass(bob))
    assert weighed[1:3] == [bob, carol]


def test_peers_that_weigh_nothing_or_beyond_all_numbers_do_not_say_what_others_may_weigh() -> None:
    silent, honest = _member([0.5, 0.5], origin="silent"), _member([1.0, 0.0], origin="honest")
    endless = TrainGroup(_group([1.0, 0.0], [4, 4], "endless"), (1e308, -1e308))
    assert fair_weights([silent, honest])[1] == honest
    assert fair_weights([honest, endless])[0] == honest


@pytest.mark.parametrize("origin", [None, "small"])
def test_a_small_mass_is_a_mass(origin: str | None) -> None:
    """Of an own group, or of the lower of two peers, which is the median that the other is held to."""
    small, large = _member([0.6, 0.5], length=1, origin=origin), _member([1.0, 0.0], 64, "large")
    assert mass(fair_weights([small, large])[1]) == pytest.approx(mass(small)) == pytest.approx(0.1)


def test_an_image_weighs_as_one_token() -> None:
    assert mass(_member([1.0, 0.0], length=0)) == mass(_member([1.0, 0.0], length=1)) == 1.0


def test_a_mass_beyond_all_numbers_weighs_nothing() -> None:
    own, bad = _member([1.0, 0.0]), _group([1.0, 0.0], [4, 4], "mallory")
    weighed = fair_weights([own, TrainGroup(bad, (1e308, -1e308))])
    assert weighed == [own, TrainGroup(bad, (0.0, 0.0))]


_members = st.builds(
    _member,
    st.lists(st.sampled_from([0.0, 0.25, 1.0]) | st.floats(-1e6, 1e6), min_size=2, max_size=40),
    st.integers(1, 300),
    st.sampled_from([None, "a", "b", "c"]),
)


@given(st.lists(_members, max_size=12))
def test_no_batch_gives_a_peer_more_than_as_many_own_groups(batch: list[TrainGroup]) -> None:
    weighed = fair_weights(batch)
    own = [mass(member) for member in batch if not member.group.external and mass(member)]
    assert [m.group for m in weighed] == [m.group for m in batch]
    for before, after in zip(batch, weighed, strict=True):
        assert mass(after) <= mass(before) * (1 + 1e-9)
        if own and after.group.external:
            assert mass(after) <= statistics.fmean(own) * (1 + 1e-6)
