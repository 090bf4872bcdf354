"""The `[sampler]` section: own and external groups of an update."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from policies.settings import Settings

MAX_GROUPS = 4096  # of a kind in a round; more is a slip of the finger that never ends


class SamplerConfig(Settings):
    """SAPO's I + J (arXiv 2509.08721): how many groups of each kind an update trains on."""

    local: int = Field(default=8, ge=1, le=MAX_GROUPS)
    """I: own groups that a round decides on; how many it opens for that is the strategy's choice."""
    external: int = Field(default=0, ge=0, le=MAX_GROUPS)
    """J: groups of peers a round. The paper's best split is I = J = 4; a silo has none."""
    problems: Literal["uniform", "adaptive"] = "uniform"
    """Which own problems: uniform over seeds and, by weight, tasks; or adaptive, those tasks and rows more often at
    which the own success rate is between 0.1 and 0.9. Difficulties of a dataset are several `[[tasks]]`."""
    draw: Literal["peers", "uniform"] = "peers"
    """Which external groups: peers: fair to networks, four fifths of the places for peers with a record. uniform:
    over groups, as published."""
    external_advantages: Literal["all", "positive"] = "all"
    """All rollouts of an external group against its mean (as published), or only those better than its mean."""
    split: Literal["fixed", "adaptive"] = "fixed"
    """Adaptive: I + J stays, and each kind gets places by how much it lately gave an update to learn from."""
    retry_unsolved: float = Field(default=0.0, ge=0, le=1)
    """Share of the own problems that are taken over from peers who sent a group in which nobody solved them: the
    swarm's second stage of DARS (arXiv 2508.13755)."""
    max_age: float = Field(default=600.0, gt=0)
    """Seconds after which a peer's group is too old to train on."""
