"""Fifteen families, each with every other: what one writes, the others read whole at equal caps."""

from __future__ import annotations

from functools import cache

import pytest
from tiny_families import FAMILIES, taught_policy
from tiny_text import problem

from policies.advantage import group_relative
from policies.policy import sample_groups
from policies.rollout import Group, Rollout, Segment, TrainGroup
from policies.text.policy import TextPolicy

PROBLEMS = [problem(f"{number}+{number + 1}=") for number in range(4)]


@cache
def policy(name: str) -> TextPolicy:
    return taught_policy(name)


@cache
def written(name: str) -> list[Group]:
    return sample_groups(policy(name), PROBLEMS, 8, seed=1)


def read(reader: TextPolicy, group: Group) -> Group:
    """The group as `reader` takes it, without rollouts of no text, which stay at home. Raises ValueError."""
    rollouts = []
    for rollout in group.rollouts:
        if rollout.text:
            text, finish = reader.fit(rollout.text, rollout.finish)
            rollouts.append(Rollout(text, (Segment(-1, reader.encode(text, finish)),), finish))
    return Group(group.problem, tuple(rollouts), "peer")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_reads_every_other_whole(name: str) -> None:
    groups = [group for writer in FAMILIES for group in written(writer)]
    whole = 0
    for group in groups:
        try:
            taken = read(policy(name), group)
        except ValueError:
            continue
        assert all(len(rollout.token_ids) <= 24 for rollout in taken.rollouts)
        whole += len(taken.rollouts) == sum(1 for rollout in group.rollouts if rollout.text)
    assert whole >= 0.99 * len(groups)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_trains_on_its_own_and_on_a_peers_rollouts(name: str) -> None:
    others = [other for other in FAMILIES if other != name]
    foreign = read(policy(name), written(others[len(name) % len(others)])[0])
    batch = [
        TrainGroup(group, group_relative([float(len(rollout.text)) for rollout in group.rollouts]))
        for group in (written(name)[0], foreign)
    ]
    report = taught_policy(name).update(batch)
    assert report is not None and report.tokens > 0 and report.grad_norm > 0
