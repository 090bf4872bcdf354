"""Settings of the rollout strategies. Every default is that of its paper, or the one that was tried here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from policies.policy import Stale
from policies.settings import Settings

MAX_ROLLOUTS = 1024  # of one problem: what the protocol takes of a group


def within_a_group(rollouts: int) -> int:
    """Raises ValueError for more than any group has."""
    if rollouts > MAX_ROLLOUTS:
        raise ValueError(
            f"{rollouts} rollouts of one problem: set {MAX_ROLLOUTS} at most, which is what peers take of a group"
        )
    return rollouts


class GroupSettings(Settings):
    """What every strategy that makes groups knows."""

    rollouts: int = Field(default=8, json_schema_extra={"minimum": 2, "maximum": MAX_ROLLOUTS})
    """Rollouts a problem, N."""
    focal_gamma: float = Field(default=0.0, ge=0.0)
    """Weigh a group by (1 - share right) to this power (F-GRPO, arXiv 2602.06717); 0: all the same."""

    @field_validator("rollouts")
    @classmethod
    def _comparable(cls, rollouts: int) -> int:
        if rollouts < 2:
            raise ValueError(
                f"{rollouts} in a group leaves nothing to compare with: set 2 or more, usually 8"
            )
        return within_a_group(rollouts)


class GrpoSettings(GroupSettings):
    """N rollouts a problem (arXiv 2402.03300)."""

    type: Literal["grpo"] = "grpo"
    """The strategy's name."""
    scale_by_std: bool = False
    """Divide advantages by the group's deviation, as published. Off as in Dr. GRPO (arXiv 2503.20783)."""
    keep_zero_advantage: bool = False
    """Train on own groups of equal rewards too, as GRPO and SAPO do: they push nothing and thin the update."""
    replace: float = Field(default=0.0, ge=0.0)
    """Groups of equal rewards that a round may replace by others, as a multiple of those wanted
    (dynamic sampling, DAPO, arXiv 2503.14476). Those beyond are dropped."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.keep_zero_advantage and self.replace:
            raise ValueError(
                "keep_zero_advantage trains on the groups that replace would replace: set one of them"
            )
        return self


class BrorlSettings(GroupSettings):
    """Many rollouts a problem, of fewer problems (BroRL, arXiv 2510.01180)."""

    type: Literal["brorl"] = "brorl"
    """The strategy's name."""
    rollouts: int = Field(default=128, json_schema_extra={"minimum": 2, "maximum": MAX_ROLLOUTS})
    """Rollouts a problem, N: 512 in the paper, on 64 GPUs."""
    base_batch: PositiveInt = 64
    """Rollouts an update that the learning rate was tuned for; it is scaled by sqrt(trained / base_batch)."""
    clip: tuple[float, float] = (0.2, 0.27)
    """Lower and upper clip of the ratio, the upper one higher: ProRLv2's public recipe."""
    replace: float = Field(default=1.5, ge=0.0)
    """Groups all right or all wrong that a round may replace, as a multiple of those wanted.

    1.5 makes up for the 41 % usable groups of the paper's N = 16; those beyond are dropped.
    """
    keep: int | None = None
    """Rollouts of a group that are trained on: those of the most varied rewards (PODS, arXiv 2504.13818)."""

    @model_validator(mode="after")
    def _keeps_some(self) -> Self:
        if self.keep is not None and not 2 <= self.keep <= self.rollouts:
            raise ValueError(
                f"keep is {self.keep}: set 2 to {self.rollouts}, which is rollouts, or leave it out"
            )
        if not (0.0 <= self.clip[0] < 1.0 and self.clip[1] > 0.0):
            raise ValueError("clip is (low, high) with low in [0, 1) and high above 0: set (0.2, 0.27)")
        return self


class BreadthSettings(Settings):
    """DARS-B: the whole batch in one optimiser step, repeated; a large `wanted` of problems goes with it."""

    epochs: PositiveInt = 2
    """Optimiser steps over the whole batch."""
    clip: tuple[float, float] = (0.2, 0.2)
    """Lower and upper clip of the ratio."""
    constant_length: PositiveInt = 64
    """Tokens that every rollout counts for, usually the policy's max_new_tokens."""


class DarsSettings(GroupSettings):
    """More rollouts for harder problems, in a second stage (DARS, arXiv 2508.13755)."""

    type: Literal["dars"] = "dars"
    """The strategy's name."""
    max_rollouts: int = Field(default=64, json_schema_extra={"maximum": MAX_ROLLOUTS})
    """Most rollouts of a problem, both stages together: 64 for "hardness" and 32 for "equal" in the paper."""
    schedule: Literal["equal", "hardness"] = "hardness"
    """Raise every hard problem to the same cumulative advantage (ET), or harder ones to a higher one (HW)."""
    scale_by_std: bool = False
    """Divide advantages by the group's deviation, and allot rollouts accordingly."""
    token_budget: PositiveInt | None = None
    """Completion tokens a round: beyond them stage 2 is clipped, the hardest problems served first."""
    breadth: BreadthSettings | None = None
    """Full-batch updates over several epochs (DARS-B)."""

    @field_validator("max_rollouts")
    @classmethod
    def _bounded(cls, rollouts: int) -> int:
        return within_a_group(rollouts)

    @model_validator(mode="after")
    def _room_for_stage_two(self) -> Self:
        if self.max_rollouts < self.rollouts:
            raise ValueError(
                f"max_rollouts is {self.max_rollouts} and stage 1 takes {self.rollouts} already: raise "
                "max_rollouts, usually to 8 times rollouts, or lower rollouts"
            )
        return self


InnerSettings = Annotated[GrpoSettings | BrorlSettings | DarsSettings, Field(discriminator="type")]


class AprilSettings(Settings):
    """Open more groups than wanted, cut the stragglers and carry them on (APRIL, arXiv 2509.18521)."""

    type: Literal["april"] = "april"
    """The strategy's name."""
    inner: InnerSettings = DarsSettings(rollouts=16, max_rollouts=512)
    """The strategy that makes the groups. The default spends BroRL's breadth on hard problems only."""
    oversample: float = Field(default=1.5, json_schema_extra={"minimum": 1, "maximum": 16})
    """Groups held open, as a multiple of those wanted: 1.25 to 2."""
    max_age: PositiveInt = 4
    """Policy versions that a token may be behind; a group that old is finished before the round ends."""
    stale: Stale = Stale.BEHAVIOUR
    """What the ratio of a token of an older version is taken against."""

    @field_validator("oversample")
    @classmethod
    def _enough(cls, oversample: float) -> float:
        if not 1.0 <= oversample <= 16.0:
            raise ValueError(
                f"{oversample} times the wanted groups: under 1 a round cannot end, over 16 most rollouts go stale; "
                "set 1.25 to 2"
            )
        return oversample

    @model_validator(mode="after")
    def _corrected(self) -> Self:
        breadth = self.inner.breadth if isinstance(self.inner, DarsSettings) else None
        if breadth and breadth.epochs > 1 and self.stale is Stale.RECOMPUTE:
            raise ValueError(
                f"{breadth.epochs} epochs on stale tokens without importance correction drift from what was "
                'sampled: set stale = "behaviour", or inner.breadth.epochs = 1'
            )
        return self


StrategySettings = Annotated[
    GrpoSettings | BrorlSettings | DarsSettings | AprilSettings, Field(discriminator="type")
]
