"""The nodes of one arm: real ones, each with its own history, that meet over the in-memory transport.

Of `specialists` each is able in one task and hardly at all in the others, where its groups seldom have a signal. Those
that are `alike` start from the same weights and do every task now and then, as the paper's agents do; these are right
in 0.4 to 1.4 % at their start, but then need 2,000 rounds. Of the `unlike` every second one is a third of the size,
half begin half as able, and every fourth plays every second round only. Starts are the same in all arms and seeds; what
a seed changes is which problems are drawn and what is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.bench.kit.trained_node import build_lockstep_node
from node.bench.sapo.arms import Arm
from node.config.reading import load_config
from node.config.roles import manifest_of
from node.config.schema import Config, parse_config
from node.runtime.loop import Node
from policies.tasks.embedded import FAMILIES
from swarm.transport.base import Transport
from swarm.transport.in_memory import MemoryHub
from swarm.transport.silo import SiloTransport

POLICIES = ("embedded", "smollm2")
SPECIALISTS, ALIKE, UNLIKE = POPULATIONS = ("specialists", "alike", "unlike")
# Shares of right answers in the warm start: of a node's own task, and of all others.
ABLE, UNABLE = 0.6, 0.01
WEAK = 0.3  # a node's own task, for half of the nodes of an unlike population
EQUAL = 0.15  # every task, of nodes that are alike
SLOW = 2
LEARNING_RATE = 3e-4  # the `tiny` preset's
NEW_TOKENS = 12
# Arithmetic of reasoning-gym so small that SmolLM2 is right in 0.10 to 0.14 of its answers (20 problems, four each). At
# the tasks of the paper it is right in 0 to 0.03, where no arm could be told from another.
GYM_TASKS: tuple[Mapping[str, Any], ...] = (
    {"name": "rg:chain_sum", "params": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}},
    {"name": "rg:products", "params": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}},
    {"name": "rg:gcd", "params": {"min_value": 1, "max_value": 20}},
    {"name": "rg:lcm", "params": {"min_value": 1, "max_value": 9}},
    {"name": "rg:count_primes", "params": {"min_n": 1, "max_n": 20}},
)


@dataclass(frozen=True, slots=True)
class PopulationPlan:
    """What all cells of one run of the bench have in common."""

    nodes: int
    rounds: int
    policy: str
    population: str = SPECIALISTS  # of POPULATIONS

    def pace_of(self, number: int) -> int:
        """Node `number` plays one round in so many: of unlike nodes every fourth is slow."""
        return SLOW if self.population == UNLIKE and number % 4 == 3 else 1


def populate(
    arm: Arm, seed: int, plan: PopulationPlan, folder: Path, clock: Callable[[], float], stack: ExitStack
) -> list[Node]:
    """Builds the nodes of an arm under `folder`; `stack` closes their stores."""
    configs = [config_of(arm, seed, plan, number) for number in range(plan.nodes)]
    hub = MemoryHub(manifest_of(configs[0]).swarm_id, clock) if arm.shares else None
    join: Callable[[str], Transport] = hub.join if hub else lambda peer: SiloTransport()
    nodes = [
        build_lockstep_node(config, folder / str(number), "sapo", join, clock)
        for number, config in enumerate(configs)
    ]
    for node in nodes:
        stack.enter_context(closing(node.store))
    return nodes


def config_of(arm: Arm, seed: int, plan: PopulationPlan, number: int) -> Config:
    """The config of node `number`: alike in all arms but for the arm's own two sections and its learning rate."""
    tree: dict[str, Any] = {
        "seed": 1000 * seed + number,
        "threads": 1,
        "rounds": max(1, plan.rounds),
        "tasks": _tasks(plan),
        "policy": _at_rate(_policy(plan, number), arm.learning_rate),
        "strategy": dict(arm.strategy),
        "sampler": {"local": arm.local, "external": arm.external, **arm.sampler},
    }
    return parse_config(tree | ({"swarm": {"type": "dht"}} if arm.shares else {}))


def skills_of(number: int, able: float = ABLE) -> dict[str, float]:
    """What the warm start of node `number` shows it: its own task more often than the others."""
    own = list(FAMILIES)[number % len(FAMILIES)]
    return {task: able if task == own else UNABLE for task in FAMILIES}


def _tasks(plan: PopulationPlan) -> list[Mapping[str, Any]]:
    return [{"name": task} for task in FAMILIES] if plan.policy == "embedded" else list(GYM_TASKS)


def _policy(plan: PopulationPlan, number: int) -> Mapping[str, Any]:
    if plan.policy != "embedded":
        return load_config(plan.policy).policy.model_dump()
    return {
        "type": "embedded",
        "generation": {"max_new_tokens": NEW_TOKENS},
        "trainer": {"learning_rate": LEARNING_RATE},
        "warm_start": _start(plan, number),
    }


def _at_rate(policy: Mapping[str, Any], rate: float | None) -> Mapping[str, Any]:
    if rate is None:
        return policy
    return {**policy, "trainer": {**policy.get("trainer", {}), "learning_rate": rate}}


def _start(plan: PopulationPlan, number: int) -> Mapping[str, Any]:
    """Every second node of an unlike population is small, and every third and fourth of four is weak."""
    if plan.population == ALIKE:
        return {"skills": dict.fromkeys(FAMILIES, EQUAL)}
    if plan.population == SPECIALISTS:
        return {"skills": skills_of(number)}
    size, able = ("small", "normal")[number % 2 == 0], (ABLE, WEAK)[number % 4 > 1]
    return {"skills": skills_of(number, able), "size": size}
