"""The `[evaluation]` section: when the policy is judged."""

from __future__ import annotations

from pydantic import Field

from policies.settings import Settings


class EvaluationConfig(Settings):
    """Held-out problems: what the policy is judged on and never trained on."""

    problems: int = Field(default=20, ge=0, le=100_000)
    """Held-out problems of each task, one rollout each. 0 switches evaluation off."""
    every: int = Field(default=10, ge=0)
    """Rounds between evaluations; 0 evaluates at the start and at the end only."""
