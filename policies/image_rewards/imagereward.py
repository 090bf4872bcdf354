"""ImageReward (arXiv 2304.05977): a BLIP model with a head trained on people's rankings, by its own package."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from policies.image_rewards.pillow import to_pillow
from policies.image_rewards.scorer import RawScore

NAME = "ImageReward-v1.0"
# Scaled by its authors to about mean 0 and deviation 1 over the images of their day.
LOW, HIGH = -3.0, 3.0


def load_imagereward(path: str, device: torch.device) -> RawScore:
    """`path`: a local copy of the published weights, or empty. Raises ImportError without its package."""
    import ImageReward  # type: ignore[import-not-found]

    model = ImageReward.load(path or NAME, device=str(device))

    def raw(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        with torch.no_grad():
            pairs = zip(to_pillow(images), prompts, strict=True)
            return torch.tensor([float(model.score(prompt, image)) for image, prompt in pairs])

    return raw
