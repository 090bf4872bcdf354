"""The `[store]` section: how much of the rollouts is kept."""

from __future__ import annotations

from pydantic import Field

from policies.settings import Settings


class StoreConfig(Settings):
    """What is kept to look at: `murmur rollouts`, and the page of `murmur dashboard`."""

    rollout_bytes: int = Field(default=256 * 2**20, ge=0)
    """Bytes that rollouts may take, texts compressed: 256 MiB hold some 600,000 short ones. Beyond it the oldest rounds
    give way: the older half is thinned to one group of each task and peer, then they go wholly. 0 keeps none."""
