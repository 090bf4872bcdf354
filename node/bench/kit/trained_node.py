"""Nodes that a benchmark trains in one process, on a clock of their rounds; their rounds and held-out scores."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from node.bench.kit.identities import keep_seeded_key
from node.config.schema import Config
from node.runtime.build import build_node
from node.runtime.loop import Node, play_round, score
from node.runtime.transports import gossip_settings
from node.storage.events import RoundEvent
from node.storage.run_folder import RunFolder
from policies.policy import DivergedError, sample_groups
from policies.rollout import Group
from policies.seeds import derive_generator, derive_seed
from swarm.gossip.service import Gossip
from swarm.transport.base import Transport

ROUND_SECONDS = 60.0  # on the bench's clock
START = 1_000_000.0  # Unix seconds at which the bench's clock begins
JUDGED = 20  # held-out problems of each task, the same for all nodes, arms and seeds


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """A policy's answers to the held-out problems, as means over problems."""

    pass_1: float
    pass_k: float
    by_task: dict[str, float] = field(default_factory=dict)  # pass@1


NOT_SCORED = HeldOutScore(0.0, 0.0)


def next_round(node: Node) -> RoundEvent:
    """Plays one round more. Raises DivergedError: the figures of a policy that broke down mean nothing."""
    node.round += 1
    event = play_round(node)
    if event.diverged:
        raise DivergedError(event.diverged)
    return event


def judge(node: Node, answers: int = 8, k: int = 8) -> HeldOutScore:
    """Scores `answers` to each held-out problem, drawn alike for every node, arm and seed."""
    problems = node.curriculum.held_out(JUDGED)
    sampled = sample_groups(node.policy, problems, answers, derive_seed(0, "judge"), held_out=True)
    groups = [score(group, node.tasks) for group in sampled]
    by_task: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        by_task[group.problem.task].append(pass_at(1, group))
    return HeldOutScore(
        statistics.fmean(pass_at(1, group) for group in groups),
        statistics.fmean(pass_at(k, group) for group in groups),
        {task: statistics.fmean(passes) for task, passes in sorted(by_task.items())},
    )


def pass_at(k: int, group: Group) -> float:
    """Chance that one of k answers is right: the unbiased estimate of arXiv 2107.03374, eq. 1."""
    n, wrong = len(group.rollouts), sum(reward < 1.0 for reward in group.rewards)
    return 1.0 - math.comb(wrong, k) / math.comb(n, k)


def no_progress(what: str, done: int, total: int) -> None:
    """Takes a warm start's progress: it is made once, then read from the user's cache."""


@dataclass(slots=True)
class RoundClock:
    """The time of a population: it moves on by one round when all have played it."""

    now: float = START

    def __call__(self) -> float:
        return self.now

    def advance(self) -> None:
        self.now += ROUND_SECONDS


def build_lockstep_node(
    config: Config, path: Path, bench: str, join: Callable[[str], Transport], clock: Callable[[], float]
) -> Node:
    """A node whose gossip is stepped by its caller; `join` gives the transport of a PeerID.

    In a run, which bodies a node fetches and which comes first repeats in no other; here both follow the seed.
    """
    folder = RunFolder(path)
    config = folder.create(config)
    peer = keep_seeded_key(folder.identity(config), config.run_seed, bench)
    transport = join(peer)
    node = build_node(config, folder, transport, no_progress, clock)
    generator = derive_generator(config.run_seed, "gossip")
    usual = gossip_settings(config)
    one_by_one = replace(usual, parallel=1, brief=usual.patience)
    node.gossip = Gossip(transport, node.verifier, node.pool, clock, generator, one_by_one)
    return node
