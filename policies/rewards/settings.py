"""Settings of the published reward models: which one judges images, and where its weights are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from policies.settings import Settings


class HubRewardSettings(Settings):
    """A reward model from the hub. Not tried on its real weights: no hub was at hand."""

    model: Literal["pickscore", "hpsv2", "imagereward"] = "pickscore"
    """PickScore (arXiv 2305.01569), HPSv2.1 (2306.09341) or ImageReward (2304.05977)."""
    weights: str = Field(default="")
    """Hub id or local copy in place of the published weights: a folder for pickscore, a file for the others."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of pickscore's and hpsv2's weights: 4 GB or 2 GB. bfloat16 rounds scores by some 0.1 of PickScore's unit."""
    batch: PositiveInt = 8
    """Images that are judged at once."""
