"""The `[checkpoint]` section: when a run is saved."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from policies.settings import Settings

BestBy: TypeAlias = Literal["reward", "right"]


class CheckpointConfig(Settings):
    """What a run goes on from after Ctrl-C or a crash."""

    every: int = Field(default=5, ge=1)
    """Rounds between checkpoints. One is always written at the end and on Ctrl-C."""
    keep: int = Field(default=2, ge=1)
    """Newest checkpoints that are kept."""
    keep_best: bool = False
    """Also keep the checkpoint with the best held-out evaluation, which `murmur export --best` takes. It is saved at
    every evaluation that beats those before; `evaluation.every` says how often one is made."""
    best_by: BestBy = "reward"
    """What is best: mean held-out reward, or the share of answers that are right, which leaves partial credit out."""
