"""Encoding of images into a pipeline's latents, which pipelines that only make images do not offer.

The way out is theirs (`PipelineCall.finish`), and its inverse has three forms: how latents are scaled, whether
they have a dimension of frames, and how they are packed into tokens.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from policies.policy import PolicyError


def fitted(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Images (B, 1 or 3, H, W) as colours of `size` (height, width): the middle of that shape, scaled to it."""
    colours = images.expand(-1, 3, -1, -1)
    height, width = colours.shape[2:]
    if (height, width) == size:
        return colours
    scale = max(size[0] / height, size[1] / width)
    tall, wide = min(height, round(size[0] / scale)), min(width, round(size[1] / scale))
    top, left = (height - tall) // 2, (width - wide) // 2
    middle = colours[:, :, top : top + max(tall, 1), left : left + max(wide, 1)]
    return torch.nn.functional.interpolate(middle, size, mode="bilinear", antialias=True)


def encode_images(pipe: Any, images: torch.Tensor, latent_shape: tuple[int, ...]) -> torch.Tensor:
    """Images (B, 3, H, W) in [-1, 1] to latents (B, *latent_shape) in float32: the mode of the encoder's posterior.

    Raises PolicyError when the pipeline's latents have a form that is not known.
    """
    vae = pipe.vae
    given = images.to(vae.device, vae.dtype)
    if _has_frames(vae):
        given = given.unsqueeze(2)
    with torch.no_grad():
        encoded = vae.encode(given)
    raw = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent
    latents = _pack(pipe, _normalised(vae, raw.float()))
    if tuple(latents.shape[1:]) != latent_shape:
        raise PolicyError(
            f"{type(pipe).__name__} works on latents {latent_shape}, and its autoencoder makes "
            f"{tuple(latents.shape[1:])} of images of its size: this pipeline cannot learn from finished images"
        )
    return latents


def _has_frames(vae: Any) -> bool:
    """Whether the autoencoder is one of videos, to which an image is a single frame."""
    return any(isinstance(layer, torch.nn.Conv3d) for layer in vae.modules())


def _normalised(vae: Any, raw: torch.Tensor) -> torch.Tensor:
    """By channel where the autoencoder has a mean and deviation for each, else by one scale and shift."""
    mean, std = _statistic(vae, "latents_mean"), _statistic(vae, "latents_std")
    scale = vae.config.get("scaling_factor")
    if mean is not None and std is not None:
        by_channel = (1, -1, *[1] * (raw.dim() - 2))
        mean, std = mean.to(raw).view(by_channel), std.to(raw).view(by_channel)
        return (raw - mean) * (1.0 if scale is None else float(scale)) / std
    if scale is None:
        raise PolicyError(f"{type(vae).__name__} does not say how its latents are scaled")
    shift: float = vae.config.get("shift_factor") or 0.0
    return (raw - shift) * float(scale)


def _statistic(vae: Any, name: str) -> torch.Tensor | None:
    """One value a channel: a buffer in some autoencoders, a list in the configuration of others."""
    found = dict(vae.named_buffers()).get(name)
    if found is None:
        found = vae.config.get(name)
    return None if found is None else torch.as_tensor(found)


def _pack(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    """Into tokens, by the pipeline's own packing where it has one."""
    pack = getattr(pipe, "_pack_latents", None)
    if pack is None:
        return latents
    if "patch_size" in inspect.signature(pack).parameters:
        packed = pack(latents, pipe.transformer_spatial_patch_size, pipe.transformer_temporal_patch_size)
    else:
        batch, channels, *_, height, width = latents.shape
        packed = pack(latents, batch, channels, height, width)
    return torch.as_tensor(packed)
