"""The reward models by name, each with what to install or download where it does not load."""

from __future__ import annotations

from pickle import UnpicklingError
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from policies.error_words import brief
from policies.install_hints import install_packages
from policies.policy import PolicyError

if TYPE_CHECKING:
    import torch

    from policies.image_rewards.scorer import Scaled

RewardModel = Literal["pickscore", "hpsv2", "imagereward"]
REWARD_MODELS: tuple[RewardModel, ...] = get_args(RewardModel)
BATCH = 8  # images that are judged at once

# What the libraries raise on weights and packages that are not there, or not what they should be.
UNREADABLE = (OSError, ValueError, ImportError, LookupError, RuntimeError, UnpicklingError)


class Package(NamedTuple):
    """What a reward model is loaded by."""

    name: str
    module: str
    source: str  # what pip is given


PACKAGES = {
    "hpsv2": Package("open_clip_torch", "open_clip", "open_clip_torch"),
    "imagereward": Package(
        "ImageReward", "ImageReward", "git+https://github.com/zai-org/ImageReward.git"
    ),  # the released 1.5 does not work with present transformers
}
FIXES: dict[RewardModel, str] = {
    "pickscore": "PickScore is two downloads: hf download yuvalkirstain/PickScore_v1 and hf download "
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K; without network, put the second's processor and tokenizer files into the "
    "first's folder and give that as weights",
    "hpsv2": f"HPSv2 needs its package and weights: {install_packages(PACKAGES['hpsv2'].source)}, and hf download "
    "xswu/HPSv2 HPS_v2.1_compressed.pt; without network, give the file as weights",
    "imagereward": f"ImageReward needs its package: {install_packages(PACKAGES['imagereward'].source)} (the "
    "released 1.5 does not work with present transformers), and its weights: hf download THUDM/ImageReward",
}


def load_reward_model(model: RewardModel, weights: str, device: torch.device, batch: int = BATCH) -> Scaled:
    """The reward model on `device`, in float32. Raises PolicyError with what to install or download.

    `weights`: a local copy in place of the published ones, or empty. A folder, for hpsv2 a file; for pickscore also a
    hub id.
    """
    try:
        return _load(model, weights, device, batch)
    except UNREADABLE as error:
        raise PolicyError(f"cannot load {model}: {brief(error)}. {FIXES[model]}") from error


def _load(model: RewardModel, weights: str, device: torch.device, batch: int) -> Scaled:
    from policies.image_rewards import hpsv2, imagereward, pickscore
    from policies.image_rewards.scorer import Scaled

    if model == "pickscore":
        raw = pickscore.load_pickscore(weights, device)
        return Scaled(raw, pickscore.LOW, pickscore.HIGH, batch)
    if model == "hpsv2":
        return Scaled(hpsv2.load_hpsv2(weights, device), hpsv2.LOW, hpsv2.HIGH, batch)
    return Scaled(imagereward.load_imagereward(weights, device), imagereward.LOW, imagereward.HIGH, batch)
