"""The ladders: difficulties of one reasoning-gym dataset each, easiest first, of which the last is to be learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from node.config.reading import load_config
from node.config.schema import Config, parse_config
from policies.tasks.task import Param

LOCAL, ROLLOUTS = 3, 8  # groups of a round, rollouts of a group


@dataclass(frozen=True, slots=True)
class Arm:
    """What is drawn: of which levels, and how."""

    name: str
    problems: str  # `sampler.problems`
    alone: bool = False  # the last level and no other


ARMS = (Arm("adaptive", "adaptive"), Arm("uniform", "uniform"), Arm("alone", "uniform", alone=True))


def _digits(least: int, most: int) -> Mapping[str, Param]:
    """Two numbers of so many digits."""
    return {"min_terms": 2, "max_terms": 2, "min_digits": least, "max_digits": most}


LEVELS = (_digits(1, 1), _digits(1, 2), _digits(2, 2))
LADDERS: Mapping[str, Sequence[Mapping[str, Param]]] = MappingProxyType(
    {"chain_sum": LEVELS, "products": LEVELS}
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What all cells of one run of the bench have in common."""

    rounds: int
    every: int  # rounds between two looks at held-out problems of the last level
    judged: int  # held-out problems of a look
    model: str  # empty: SmolLM2-135M-Instruct


def config_of(case: str, arm: Arm, seed: int, plan: Plan) -> Config:
    """The `smollm2` preset on the ladder's levels, or on its last alone."""
    levels = LADDERS[case][-1:] if arm.alone else LADDERS[case]
    tree: dict[str, Any] = {
        "seed": seed,
        "threads": 1,
        "rounds": plan.rounds,
        "tasks": [{"name": f"rg:{case}", "params": dict(params)} for params in levels],
        "policy": load_config("smollm2").policy.model_dump(),
        "strategy": {"rollouts": ROLLOUTS},
        "sampler": {"local": LOCAL, "problems": arm.problems},
    }
    if plan.model:
        tree["policy"]["model"]["path"] = plan.model
    return parse_config(tree)
