"""`sampler.importance` and `swarm.share_logprobs`, from config to what a node would train on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node.bench import sapo_population
from node.bench.sapo_arms import SPLITS, arms_of
from node.bench.sapo_population import Plan, RoundClock, populate, skills_of
from node.loop import play_round
from policies.rollout import Finish, Group, Rollout
from swarm.gossip import Gossip

Published = dict[tuple[str, int, str, Finish], Rollout]


def named(groups: Iterable[Group]) -> Published:
    return {
        (group.problem.task, group.problem.seed, rollout.text, rollout.finish): rollout
        for group in groups
        for rollout in group.rollouts
    }


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Published:
    """Filled with what nodes publish; their policies are made in a moment, guess, and are right half of the time."""
    rollouts: Published = {}
    publish = Gossip.publish

    def policy(plan: Plan, number: int) -> Mapping[str, Any]:
        start = {"steps": 1, "batch": 6, "skills": skills_of(number)}
        return {"type": "embedded", "generation": {"max_new_tokens": 4}, "warm_start": start}

    def overheard(gossip: Gossip, groups: Iterable[Group], *about: Any) -> None:
        groups = list(groups)
        rollouts.update(named(groups))
        publish(gossip, groups, *about)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sapo_population, "_policy", policy)
    monkeypatch.setattr(Gossip, "publish", overheard)
    monkeypatch.setattr(
        "policies.tasks.embedded.EmbeddedTask.score", lambda task, problem, text: len(text) % 2
    )
    return rollouts


def received_in(arm_name: str, folder: Path) -> Published:
    """What two nodes have of each other after each has played and published one round."""
    arm = next(arm for arm in arms_of(SPLITS) if arm.name == arm_name)
    with ExitStack() as stack:
        nodes = populate(arm, 0, Plan(2, 1, "embedded"), folder, RoundClock(), stack)
        for node in nodes:
            node.round += 1
            play_round(node)
        for node in (*nodes, *nodes):
            node.gossip.step()
        generator = np.random.default_rng(0)
        pooled = [node.pool.draw(len(node.pool), generator, node.clock()) for node in nodes]
    return named(group for groups in pooled for group in groups)


@pytest.mark.parametrize(("arm", "asks"), [("4/4 importance", True), ("4/4", False)])
def test_a_peers_rollouts_have_its_log_probs_where_the_config_asks_for_them(
    arm: str, asks: bool, published: Published, tmp_path: Path
) -> None:
    received = received_in(arm, tmp_path)
    # A newborn policy writes control tokens, which the text does not have: of such rollouts nothing is told.
    alike = {key for key, rollout in received.items() if rollout.token_ids == published[key].token_ids}
    assert 4 < len(alike) < len(received)
    for key, rollout in received.items():
        told = asks and key in alike
        assert rollout.logprobs == (pytest.approx(published[key].logprobs, abs=0.063) if told else None)
