"""Conversion between tensors and the 8-bit images that are scored, shown and sent."""

from __future__ import annotations

import torch
from torch import Tensor

from policies.rollout import Image


def to_images(pixels: Tensor) -> list[Image]:
    """Images (B, C, H, W) in [-1, 1], C = 1 or 3, rounded to 8 bits."""
    _, channels, height, width = pixels.shape
    rows = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
    return [Image(width, height, channels, row.contiguous().numpy().tobytes()) for row in rows]


def to_pixels(image: Image) -> Tensor:
    """(C, H, W) in [-1, 1], float32."""
    flat = torch.frombuffer(bytearray(image.pixels), dtype=torch.uint8)
    rows = flat.view(image.height, image.width, image.channels)
    return rows.permute(2, 0, 1).float() / 127.5 - 1
