"""The `[tracking]` section: which experiment trackers get the figures of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from policies.settings import Settings


class TrackingConfig(Settings):
    """Trackers that get the figures of every round. One that fails is told of once and left; the run goes on."""

    kinds: tuple[Literal["jsonl", "tensorboard", "wandb", "trackio"], ...] = ("jsonl",)
    """jsonl writes `tracking/rounds.jsonl` in the run folder; the others need their library and write below
    `tracking/` too."""
    samples: int = Field(default=4, ge=0, le=64)
    """Rollouts that go along with a round's figures, half of them of peers. 0: none. Needs store.rollout_bytes."""
    samples_every: int = Field(default=5, ge=1)
    """Rounds from one with samples to the next."""
    project: str = "murmuration"
    """Name of the project at Weights & Biases and trackio."""
    wandb_mode: Literal["offline", "online"] = "offline"
    """Offline keeps everything in the run folder, for `wandb sync`; online sends it to W&B as the run goes on."""
