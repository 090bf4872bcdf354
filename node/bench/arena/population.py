"""The honest nodes of an arena: alike, able in `walk` now and then, and trained by the real loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from node.bench.arena.defences import Defence
from node.bench.arena.hostile import honest_address
from node.bench.arena.plan import ArenaPlan
from node.bench.kit.trained_node import build_lockstep_node
from node.config.roles import manifest_of
from node.config.schema import Config, parse_config
from node.runtime.loop import Node
from swarm.transport.in_memory import MemoryHub

GROUPS, ROLLOUTS = 4, 8  # I = J, and rollouts of a group
NEW_TOKENS = 28  # the longest answer of an attack has 27
# At it undefended nodes take up within a hundred rounds what they are taught; policies also break down for some rounds
# by themselves.
LEARNING_RATE = 6e-4
# Of the presets. Policies stay whole at it, so that it shows what defences cost honest nodes.
USUAL_RATE = 3e-4
SKILLS = {"walk": 0.3, "maximum": 0.3}
# `walk` is what an attack is about; `maximum` is there for the one that sends a single task.
WEIGHTS = {"walk": 3.0, "maximum": 1.0}
WARM_START = {"size": "small", "steps": 300, "batch": 40, "skills": SKILLS}


def honest_nodes(
    configs: Sequence[Config], folder: Path, clock: Callable[[], float], stack: ExitStack
) -> tuple[list[Node], MemoryHub]:
    """Builds them under `folder`; `stack` closes their stores."""
    hub = MemoryHub(manifest_of(configs[0]).swarm_id, clock)
    nodes = []
    for number, config in enumerate(configs):
        path, address = folder / str(number), (honest_address(number),)
        node = build_lockstep_node(config, path, "arena", lambda peer: hub.join(peer, address), clock)  # noqa: B023
        nodes.append(node)
        stack.enter_context(closing(node.store))
    return nodes, hub


def configs_of(plan: ArenaPlan, defence: Defence, seed: int, rate: float = LEARNING_RATE) -> list[Config]:
    """The configs of the honest nodes: alike for all defences but for their own sections."""
    return [_config(plan, defence, 1000 * seed + number, rate) for number in range(plan.honest)]


def _config(plan: ArenaPlan, defence: Defence, seed: int, rate: float) -> Config:
    tree: dict[str, Any] = {
        "seed": seed,
        "threads": 1,
        "rounds": plan.rounds,
        "tasks": [{"name": name, "weight": weight} for name, weight in WEIGHTS.items()],
        "policy": {
            "type": "embedded",
            "generation": {"max_new_tokens": NEW_TOKENS},
            "trainer": {"learning_rate": rate},
            "warm_start": WARM_START,
        },
        "strategy": {"type": "grpo", "rollouts": ROLLOUTS},
        "sampler": {"local": GROUPS, "external": GROUPS, **defence.sampler},
        "trust": dict(defence.trust),
        "store": {"rollout_bytes": 0},
        "swarm": {"type": "dht"},
    }
    return parse_config(tree)
