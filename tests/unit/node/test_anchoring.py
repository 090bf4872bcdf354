"""Anchored mixing in real rounds: two embedded nodes over the in-memory transport."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.anchoring import anchored
from node.bench import sapo_population
from node.bench.sapo_arms import SPLITS, arms_of
from node.bench.sapo_population import Plan, RoundClock, populate, skills_of
from node.build import build_node
from node.config import ConfigError, SamplerConfig, parse_config
from node.loop import Node, play_round, resume, save
from node.runfolder import RunFolder
from node.store import RoundEvent
from policies.policy import UpdateReport, UpdateSpec
from policies.rollout import Finish, Group, Rollout, Segment, TrainGroup
from policies.tasks import build_task
from policies.tasks.task import TaskSpec, score_group
from swarm.sampler import Batch
from swarm.silo import SiloTransport

PLAN = Plan(nodes=2, rounds=3, policy="embedded")
ARM = next(arm for arm in arms_of(SPLITS) if arm.name == "4/4 anchored positive")
TASKS = [{"name": "sort"}]


@pytest.fixture
def swarm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Node]]:
    """Two newborn nodes. Every second completion counts as right, so that groups have a signal."""

    def policy(plan: Plan, number: int) -> Mapping[str, Any]:
        start = {"steps": 1, "batch": 6, "skills": skills_of(number)}
        return {"type": "embedded", "generation": {"max_new_tokens": 4}, "warm_start": start}

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sapo_population, "_policy", policy)
    monkeypatch.setattr(
        "policies.tasks.embedded.EmbeddedTask.score", lambda task, problem, text: len(text) % 2
    )
    with ExitStack() as stack:
        yield populate(ARM, 0, PLAN, tmp_path, RoundClock(), stack)


def play_first(nodes: Sequence[Node]) -> list[RoundEvent]:
    events = []
    for node in nodes:
        node.round = 1
        events.append(play_round(node))
    for _ in range(2):
        for node in nodes:
            node.gossip.step()
    return events


def learned_in(
    node: Node, number: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[RoundEvent, list[TrainGroup]]:
    """Plays one round; returns its event, and what the policy was given to learn from."""
    given: list[TrainGroup] = []
    update = node.policy.update

    def noting(batch: Sequence[TrainGroup], spec: UpdateSpec = UpdateSpec()) -> UpdateReport | None:
        given.extend(batch)
        return update(batch, spec)

    monkeypatch.setattr(node.policy, "update", noting)
    node.round = number
    return play_round(node), given


def test_an_update_judges_peers_beside_own_rollouts(
    swarm: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [event.anchors for event in play_first(swarm)] == [0, 0]
    event, given = learned_in(swarm[1], 2, monkeypatch)
    assert 0 < event.trained_external <= 4
    assert event.anchors == 4 * event.trained_external

    plain = len(given) - 2 * event.trained_external
    for mine, theirs in zip(given[plain::2], given[plain + 1 :: 2], strict=True):
        assert mine.group.problem == theirs.group.problem
        assert (mine.group.origin, theirs.group.origin) == (None, swarm[0].door.peer)
        assert len(mine.group.rollouts) == 4 >= len(theirs.group.rollouts)
        # Own text carries what it was sampled with, a peer's does not.
        assert all(r.logprobs is not None and r.segments[0].policy_version == 1 for r in mine.group.rollouts)
        assert all(r.logprobs is None for r in theirs.group.rollouts)
        rewards = [*mine.group.rewards, *theirs.group.rewards]
        mean = sum(rewards) / len(rewards)
        assert mine.advantages == pytest.approx([reward - mean for reward in mine.group.rewards])
        assert theirs.advantages == pytest.approx(
            [max(0.0, reward - mean) for reward in theirs.group.rewards]
        )


def test_anchors_count_as_tokens_but_not_as_reward_nor_for_peers(
    swarm: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    play_first(swarm)
    event, given = learned_in(swarm[1], 2, monkeypatch)
    decided = swarm[1].store.problems(2)
    assert len(decided) == 4
    assert event.reward == pytest.approx(sum(problem.reward for problem in decided) / 4)
    beside = [t.group for t in given[len(given) - 2 * event.trained_external :: 2]]
    assert sum(len(group.rollouts) for group in beside) == event.anchors
    # Published in the next round is what this one decided on.
    swarm[1].gossip.step()
    event_after, _ = learned_in(swarm[1], 3, monkeypatch)
    assert event_after.published == 4
    tokens = sum(len(rollout.token_ids) for group in beside for rollout in group.rollouts)
    assert tokens < event.tokens <= tokens + 4 * 8 * 4  # 4 groups of 8 rollouts of at most 4 tokens


def test_a_resumed_node_samples_the_same_anchors(
    swarm: list[Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_first(swarm)
    bob = swarm[1]
    save(bob)
    folder = RunFolder(tmp_path / "1")
    again = build_node(bob.config, folder, SiloTransport(), lambda what, done, total: None, RoundClock())
    whole, given = learned_in(bob, 2, monkeypatch)
    assert whole.anchors

    resume(again)
    assert again.round == 1
    resumed, given_again = learned_in(again, 2, monkeypatch)
    again.store.close()
    assert given_again == given
    assert (resumed.loss, resumed.grad_norm, resumed.tokens) == (whole.loss, whole.grad_norm, whole.tokens)


class Repeating:
    """Notes the keys that it is asked to sample with; answers all problems wrongly."""

    def __init__(self) -> None:
        self.keys: list[int] = []

    def sample(self, requests: Sequence[Any], **options: object) -> list[Rollout]:
        self.keys += [request.key for request in requests]
        return [Rollout("?", (Segment(0, (1,)),), Finish.STOP) for _ in requests]


def test_anchors_differ_by_problem_and_round_and_trusting_samples_none() -> None:
    task = build_task(TaskSpec("sort"))
    external = tuple(
        score_group(
            task,
            Group(
                problem,
                tuple(Rollout(text, (), Finish.STOP) for text in (problem.answer, "no")),
                origin=peer,
            ),
        )
        for problem, peer in ((task.problem(1), "12D3Alice"), (task.problem(1), "12D3Bob"))
    )
    batch, policy = Batch((), external, short=0), Repeating()
    sampler = SamplerConfig(external=2, mixing="anchored", anchors=3, guests=1)
    score = lambda group: score_group(task, group)  # noqa: E731
    for seed in (1, 2):
        found = anchored(batch, policy, score, sampler, seed)
        # The one right rollout of each peer, beside three wrong own ones; one peer a group.
        assert [one.whole.rewards for one in found.mixed] == [(0.0, 0.0, 0.0, 1.0)] * 2
    assert len(set(policy.keys)) == 2 * 2 * 3
    assert anchored(batch, policy, score, replace_mixing(sampler), 1) is batch
    nothing = replace(batch, external=())
    assert anchored(nothing, policy, score, sampler, 1) is nothing
    assert len(policy.keys) == 2 * 2 * 3


def replace_mixing(sampler: SamplerConfig) -> SamplerConfig:
    return sampler.model_copy(update={"mixing": "trusting"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": {"mixing": "anchored", "anchors": 2, "guests": 3}}, "half of a group must be own"),
        ({"sampler": {"mixing": "anchored", "external_advantages": "gain"}}, "gain measures whole groups"),
        ({"sampler": {"mixing": "anchored"}, "policy": {"type": "diffusion"}}, "images are not anchored"),
    ],
)
def test_what_cannot_be_anchored_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config({"tasks": TASKS, **changes})
