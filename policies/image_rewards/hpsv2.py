"""HPSv2.1 (arXiv 2306.09341): the cosine of image and prompt in a ViT-H CLIP model tuned on people's preferences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from policies.image_rewards.pillow import to_pillow
from policies.image_rewards.scorer import RawScore

REPOSITORY, FILE = "xswu/HPSv2", "HPS_v2.1_compressed.pt"
ARCHITECTURE = "ViT-H-14"
# The cosine: published tables run from 0.25 to 0.40.
LOW, HIGH = 0.15, 0.45


def load_hpsv2(path: str, device: torch.device) -> RawScore:
    """`path`: a local copy of the published checkpoint, or empty. Raises ImportError without open_clip.

    The checkpoint is published as a torch file alone; it is read with `weights_only`, which runs no code.
    """
    import open_clip  # type: ignore[import-not-found]

    model, _, preprocess = open_clip.create_model_and_transforms(ARCHITECTURE, pretrained=None)
    tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
    file = Path(path) if path else _fetched()
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["state_dict"])
    model.requires_grad_(False).eval().to(device)

    def features(found: Any) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.as_tensor(found).float(), dim=-1)

    def raw(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        pixels = torch.stack([preprocess(image) for image in to_pillow(images)])
        with torch.no_grad():
            seen = features(model.encode_image(pixels.to(device)))
            read = features(model.encode_text(tokenizer(list(prompts)).to(device)))
        return (seen * read).sum(-1)

    return raw


def _fetched() -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(REPOSITORY, FILE))
