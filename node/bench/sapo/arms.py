"""The arms of `murmur bench sapo`: the paper's splits, the strongest silos that we know, and our own sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from node.bench.kit.options import BenchError
from node.bench.kit.trained_node import ROUND_SECONDS

SPLITS = ("8/0", "4/4")  # played unless asked otherwise
ALL_SPLITS = ("8/0", "6/2", "4/4", "2/6")  # the paper's
ROLLOUTS = 8  # L
AT = " at "  # between the name of an arm and its own learning rate

# What the paper prints: cumulative reward over 8 agents and 2,000 rounds (arXiv 2509.08721, sec. 5).
PAPER: Mapping[str, float] = MappingProxyType({"8/0": 561.79, "6/2": 854.43, "4/4": 1093.31, "2/6": 945.87})

PUBLISHED = {"type": "grpo", "rollouts": ROLLOUTS, "scale_by_std": True, "keep_zero_advantage": True}
FILTERED = {"type": "grpo", "rollouts": ROLLOUTS, "scale_by_std": True}
# Eight groups with a signal, out of 32 at most.
RESAMPLED = {"type": "grpo", "rollouts": ROLLOUTS, "scale_by_std": True, "replace": 3.0}
DARS = {"type": "dars", "rollouts": ROLLOUTS, "max_rollouts": 8 * ROLLOUTS}  # as published, from 8
# The paper's nodes go round in lockstep and see the groups of one round only: here those of the round before.
AS_PUBLISHED = {"draw": "uniform", "external_advantages": "all", "max_age": 1.5 * ROUND_SECONDS}


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train a population. `strategy` and `sampler` are sections of a node's config."""

    name: str
    local: int  # I
    external: int  # J
    strategy: Mapping[str, Any] = field(default_factory=lambda: dict(PUBLISHED))
    sampler: Mapping[str, Any] = field(default_factory=lambda: dict(AS_PUBLISHED))
    learning_rate: float | None = None  # None: the policy's own
    trains: bool = True  # False: judged as it starts
    extra: bool = False  # True: played only where --case names it

    @property
    def shares(self) -> bool:
        return self.external > 0

    @property
    def key(self) -> str:
        """What its cells are kept under: the name, with the learning rate where it has one of its own."""
        return self.name if self.learning_rate is None else f"{self.name}{AT}{self.learning_rate:g}"


def name_of(key: str) -> str:
    """The name of the arm whose cells are kept under this key."""
    return key.partition(AT)[0]


def arms_of(splits: Sequence[str]) -> list[Arm]:
    """The paper's splits as given, and the arms beside them. Raises BenchError.

    `positive` changes one thing of the split beside it, and `adaptive` and `relief` one thing more.
    """
    published = [Arm(split, *_parsed(split)) for split in splits]
    silo = next((arm for arm in published if not arm.shares), None)
    if silo is None:
        raise BenchError("no split without external groups to compare with: add 8/0 to --splits")
    half = max(1, silo.local // 2)
    positive = {**AS_PUBLISHED, "external_advantages": "positive"}
    relief = {**positive, "retry_unsolved": 0.25}
    return [
        *published,
        Arm(f"{silo.name} resampled", silo.local, 0, RESAMPLED),
        Arm(f"{silo.name} dars", silo.local, 0, DARS),
        Arm(f"{half}/{half} positive", half, half, sampler=positive),
        Arm(f"{half}/{half} adaptive", half, half, sampler={**positive, "split": "adaptive"}),
        Arm(f"{silo.name} filtered", silo.local, 0, FILTERED, extra=True),
        Arm(f"{half}/{half} positive filtered", half, half, FILTERED, positive, extra=True),
        Arm(f"{half}/{half} relief", half, half, sampler=relief, extra=True),
    ]


def starting(arms: Sequence[Arm]) -> Arm:
    """The policies that every arm begins with."""
    return Arm("start", baseline(arms).local, 0, trains=False)


def baseline(arms: Sequence[Arm]) -> Arm:
    """The silo that everything is compared with: 8/0 as published."""
    return next(arm for arm in arms if not arm.shares)


def _parsed(split: str) -> tuple[int, int]:
    own, slash, external = split.partition("/")
    if not (slash and own.isdecimal() and external.isdecimal() and int(own)):
        raise BenchError(f"{split!r} is no split: write own/external groups of an update, like 4/4")
    return int(own), int(external)
