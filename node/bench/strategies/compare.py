"""`murmur bench strategies`: the embedded policy trained with each strategy, at equal steps and at equal tokens.

Every strategy starts from the same weights, plays the real loop as a silo, and is judged on the same held-out
problems. Nothing is tuned for any of them: one learning rate, the presets' sizes where a run affords them.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from node.bench.kit.identities import keep_seeded_key
from node.bench.kit.options import BenchOptions, refuse_unknown
from node.bench.kit.report import Interrupted, Progress, Report, Row, spread
from node.bench.kit.trained_node import HeldOutScore, judge, next_round, no_progress
from node.config.schema import Config, parse_config
from node.runtime.build import build_node
from node.runtime.loop import Node
from node.storage.events import RoundEvent
from node.storage.run_folder import RunFolder
from swarm.transport.silo import SiloTransport

STEPS = 24
TOKENS = 30_000  # GRPO samples a fifth of it in STEPS steps, the broad strategies all of it
SEEDS = 3
PASS_K = 8
ANSWERS = 16  # to each held-out problem
SKILL = 0.3
STRATEGIES: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "grpo": {"type": "grpo", "rollouts": 8},
        "brorl": {"type": "brorl", "rollouts": 64},
        "brorl-pods": {"type": "brorl", "rollouts": 64, "keep": 32},
        "dars": {"type": "dars", "rollouts": 8, "max_rollouts": 64},
        "dars-b": {
            "type": "dars",
            "rollouts": 8,
            "max_rollouts": 64,
            "breadth": {"epochs": 2, "constant_length": 12},
        },
        "april": {"type": "april", "oversample": 1.5, "inner": {"type": "grpo", "rollouts": 8}},
        "april-dars": {
            "type": "april",
            "oversample": 1.5,
            "inner": {"type": "dars", "rollouts": 16, "max_rollouts": 128},
        },
    }
)


@dataclass(frozen=True, slots=True)
class StrategyCourse:
    """One strategy in one seed."""

    strategy: str
    start: HeldOutScore
    equal_steps: HeldOutScore
    equal_tokens: HeldOutScore
    tokens: int  # sampled in STEPS steps
    steps_to_budget: int  # steps until TOKENS were sampled
    usable: float  # share of decided groups that were trained on
    idle: float
    stale: float


def run(options: BenchOptions, progress: Progress) -> Report:
    """Every strategy in every seed. Raises Interrupted with the courses that have ended on Ctrl-C."""
    refuse_unknown("strategy", options.cases, STRATEGIES)
    seeds = range(options.repeats or SEEDS)
    courses: list[StrategyCourse] = []
    try:
        for seed in seeds:
            for name in options.cases or STRATEGIES:
                courses.append(follow(name, seed))
                before, after = courses[-1].start.pass_1, courses[-1].equal_steps.pass_1
                progress(f"seed {seed}: {name}, pass@1 {before:.3f} -> {after:.3f} in {STEPS} steps")
    except KeyboardInterrupt:
        raise Interrupted(Report("strategies", options.machine, list(seeds), rows(courses), [])) from None
    return Report("strategies", options.machine, list(seeds), rows(courses), [])


def follow(name: str, seed: int) -> StrategyCourse:
    """Trains one policy for STEPS rounds and for as many as it takes to sample TOKENS; judges it at both."""
    with tempfile.TemporaryDirectory() as folder:
        node = _node(name, seed, Path(folder))
        start = judge(node, ANSWERS, PASS_K)
        events: list[RoundEvent] = []
        at_steps = at_tokens = None
        sampled = steps_to_budget = tokens = 0
        while at_steps is None or at_tokens is None:
            events.append(next_round(node))
            sampled += events[-1].tokens
            if at_tokens is None and sampled >= TOKENS:
                at_tokens, steps_to_budget = judge(node, ANSWERS, PASS_K), len(events)
            if len(events) == STEPS:
                at_steps, tokens = judge(node, ANSWERS, PASS_K), sampled
        node.store.close()
    return StrategyCourse(name, start, at_steps, at_tokens, tokens, steps_to_budget, *_effort(events[:STEPS]))


def rows(courses: Sequence[StrategyCourse]) -> list[Row]:
    """One row a strategy: means over seeds with their range."""
    table: list[Row] = []
    for name in dict.fromkeys(course.strategy for course in courses):
        mine = [course for course in courses if course.strategy == name]
        table.append(
            {
                "strategy": name,
                **spread("start_pass_1", [c.start.pass_1 for c in mine]),
                **spread("steps_pass_1", [c.equal_steps.pass_1 for c in mine]),
                **spread(f"steps_pass_{PASS_K}", [c.equal_steps.pass_k for c in mine]),
                **spread("tokens_pass_1", [c.equal_tokens.pass_1 for c in mine]),
                **spread(f"tokens_pass_{PASS_K}", [c.equal_tokens.pass_k for c in mine]),
                "tokens": statistics.fmean(c.tokens for c in mine),
                "steps_to_budget": statistics.fmean(c.steps_to_budget for c in mine),
                "usable_share": statistics.fmean(c.usable for c in mine),
                "idle_share": statistics.fmean(c.idle for c in mine),
                "stale_share": statistics.fmean(c.stale for c in mine),
            }
        )
    return table


def _effort(events: Sequence[RoundEvent]) -> tuple[float, float, float]:
    trained = sum(event.trained_local for event in events)
    decided = trained + sum(sum(event.dropped.values()) for event in events)
    idle = statistics.fmean(event.idle_share for event in events)
    return trained / decided, idle, statistics.fmean(event.stale_share for event in events)


def _node(name: str, seed: int, folder: Path) -> Node:
    config: Config = parse_config(
        {
            "seed": seed,
            "tasks": [{"name": task} for task in ("maximum", "shift", "binary")],
            "policy": {
                "type": "embedded",
                "generation": {"max_new_tokens": 12},
                "trainer": {"learning_rate": 2e-4},
                "warm_start": {"skills": dict.fromkeys(("maximum", "shift", "binary"), SKILL)},
            },
            "strategy": STRATEGIES[name],
            "sampler": {"local": 8},
        }
    )
    run_folder = RunFolder(folder)
    keep_seeded_key(run_folder.identity(config), seed, "strategies")
    return build_node(run_folder.create(config), run_folder, SiloTransport(), no_progress)
