"""Rewards for images by published reward models, none of them tried on its real weights. Loaded when asked for."""

from __future__ import annotations

from pickle import UnpicklingError

import torch

from policies.policy import PolicyError
from policies.rewards.scorer import Scaled, Scorer
from policies.rewards.settings import HubRewardSettings

__all__ = ["HubRewardSettings", "Scorer", "load_scorer"]

# What the libraries raise on weights and packages that are not there, or not what they should be.
UNREADABLE = (OSError, ValueError, ImportError, LookupError, RuntimeError, UnpicklingError)

FIXES = {
    "pickscore": "PickScore is two downloads: hf download yuvalkirstain/PickScore_v1 and hf download "
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K; without network, put the second's processor and tokenizer files into the "
    "first's folder and give that as weights",
    "hpsv2": "HPSv2 needs its package and weights: pip install open_clip_torch, and hf download xswu/HPSv2 "
    "HPS_v2.1_compressed.pt; without network, give the file as weights",
    "imagereward": "ImageReward needs its package: pip install git+https://github.com/zai-org/ImageReward.git (the "
    "released 1.5 does not work with present transformers), and its weights: hf download THUDM/ImageReward",
}


def load_scorer(settings: HubRewardSettings, device: torch.device) -> Scorer:
    """The reward model on `device`. Raises PolicyError with what to install or download."""
    dtype = getattr(torch, settings.dtype)
    try:
        if settings.model == "pickscore":
            from policies.rewards import pickscore

            raw = pickscore.load_pickscore(settings.weights, dtype, device)
            return Scaled(raw, pickscore.LOW, pickscore.HIGH, settings.batch)
        if settings.model == "hpsv2":
            from policies.rewards import hpsv2

            return Scaled(
                hpsv2.load_hpsv2(settings.weights, dtype, device), hpsv2.LOW, hpsv2.HIGH, settings.batch
            )
        from policies.rewards import imagereward

        raw = imagereward.load_imagereward(settings.weights, device)
        return Scaled(raw, imagereward.LOW, imagereward.HIGH, settings.batch)
    except UNREADABLE as error:
        said = " ".join(str(error).split())[:300]
        raise PolicyError(f"cannot load {settings.model}: {said}. {FIXES[settings.model]}") from error
