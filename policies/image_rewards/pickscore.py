"""PickScore (arXiv 2305.01569): how well a CLIP model, tuned on people's choices, finds image and prompt to agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, CLIPModel

from policies.image_rewards.pillow import to_pillow
from policies.image_rewards.scorer import RawScore
from policies.load_report import whole_weights

WEIGHTS = "yuvalkirstain/PickScore_v1"
# The weights were published without their processor, which is that of the model they were tuned from.
PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
# 100 times the cosine: images of today's models lie at 19 to 24, and 26 is about the best there is.
LOW, HIGH = 15.0, 30.0


def load_pickscore(path: str, device: torch.device) -> RawScore:
    """The published formula, exp(logit scale) * cosine. `path`: hub id or local folder, or empty.

    Raises what transformers raises when there is nothing to load.
    """
    with_processor = bool(path) and any((Path(path) / name).is_file() for name in PROCESSOR_FILES)
    processor: Any = AutoProcessor.from_pretrained(
        path if with_processor else PROCESSOR, trust_remote_code=False
    )
    with whole_weights(path or WEIGHTS):
        model: Any = CLIPModel.from_pretrained(
            path or WEIGHTS, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
    model.requires_grad_(False).eval().to(device)
    longest = model.config.text_config.max_position_embeddings  # 77 in the published model

    def raw(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        distinct = list(dict.fromkeys(prompts))
        text = processor(
            text=distinct, padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        pixels = processor(images=to_pillow(images), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            found = model(**text.to(device), pixel_values=pixels.to(device)).logits_per_image
        columns = torch.tensor([distinct.index(prompt) for prompt in prompts], device=device)
        return torch.as_tensor(found).gather(1, columns[:, None])[:, 0]

    return raw
