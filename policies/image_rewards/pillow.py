"""Images as the published reward models were trained to see them: 8-bit, through Pillow's resizing."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image


def to_pillow(images: torch.Tensor) -> list[Any]:
    """(B, 3, H, W) in [0, 1], rounded to 8 bits."""
    eight_bit = (images.float().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return [Image.fromarray(image.permute(1, 2, 0).cpu().numpy(), mode="RGB") for image in eight_bit]
