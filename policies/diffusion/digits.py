"""The embedded diffusion network: diffusers' own SD3 transformer, small, on 8 x 8 digits. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from policies.diffusion.denoiser import Prediction, Schedule
from policies.diffusion.settings import DigitsSource
from policies.policy import PolicyError
from policies.tasks.digit_images import CLASSES, SIDE
from policies.tasks.digits import PROMPTS

LATENT_SHAPE = (1, SIDE, SIDE)
PROMPT_TOKENS = 2
TIMESTEPS = 1000  # the network's own unit of noise


class DigitsNetwork(torch.nn.Module):
    """Velocity e - x0 of the straight path x = (1 - s) x0 + s e; a table of prompts in place of text encoders."""

    def __init__(self, source: DigitsSource) -> None:
        super().__init__()
        width = source.heads * source.head_width
        self.network = SD3Transformer2DModel(
            sample_size=SIDE,
            patch_size=2,
            in_channels=1,
            out_channels=1,
            num_layers=source.layers,
            num_attention_heads=source.heads,
            attention_head_dim=source.head_width,
            joint_attention_dim=source.prompt_width,
            caption_projection_dim=width,
            pooled_projection_dim=source.prompt_width,
            pos_embed_max_size=SIDE,
        )
        self.tokens = torch.nn.Embedding(CLASSES, PROMPT_TOKENS * source.prompt_width)
        self.pooled = torch.nn.Embedding(CLASSES, source.prompt_width)

    def forward(self, latents: Tensor, noise_level: Tensor, digits: Tensor) -> Tensor:
        """Latents (B, 1, 8, 8), noise levels (B,) in [0, 1], digits (B,) to velocities (B, 1, 8, 8)."""
        (velocity,) = self.network(
            hidden_states=latents,
            encoder_hidden_states=self.tokens(digits).unflatten(1, (PROMPT_TOKENS, -1)),
            pooled_projections=self.pooled(digits),
            timestep=noise_level * TIMESTEPS,
            return_dict=False,
        )
        assert isinstance(velocity, Tensor)
        return velocity


class DigitsDenoiser:
    """See `policies.diffusion.denoiser.Denoiser`. The reference is a frozen copy of the network as it came."""

    def __init__(self, network: DigitsNetwork, steps: int) -> None:
        self._network = network.eval()
        for table in (network.tokens, network.pooled):  # as text encoders are, they stay as they came
            table.requires_grad_(False)
        self._reference = deepcopy(network).requires_grad_(False)
        self._current = network
        noise = tuple(1 - step / steps for step in range(steps + 1))
        self._schedule = Schedule(tuple(1 - level for level in noise), noise)

    @property
    def schedule(self) -> Schedule:
        return self._schedule

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return LATENT_SHAPE

    @property
    def module(self) -> torch.nn.Module:
        return self._network

    def predict(self, latents: Tensor, step: int, prompts: Sequence[str]) -> Prediction:
        level = self._schedule.noise[step]
        return self.predict_at(latents, latents.new_full((len(latents),), level), prompts)

    def predict_at(self, latents: Tensor, noise_level: Tensor, prompts: Sequence[str]) -> Prediction:
        velocity = self._current(latents, noise_level, _digits(prompts, latents.device))
        level = noise_level[:, None, None, None]
        return Prediction(latents - level * velocity, latents + (1 - level) * velocity)

    @contextmanager
    def reference(self) -> Iterator[None]:
        self._current = self._reference
        try:
            yield
        finally:
            self._current = self._network

    def encode(self, images: Tensor) -> Tensor:
        """Grey, and averaged down or up to 8 x 8: peers may draw larger."""
        return adaptive_avg_pool2d(images.mean(1, keepdim=True), SIDE)

    def decode(self, latents: Tensor) -> Tensor:
        return latents.clamp(-1, 1)


def _digits(prompts: Sequence[str], device: torch.device) -> Tensor:
    try:
        return torch.tensor([PROMPTS.index(prompt) for prompt in prompts], device=device)
    except ValueError:
        raise PolicyError(
            f"the digits network draws only {PROMPTS[0]!r} to {PROMPTS[-1]!r}; train it on the task 'digits'"
        ) from None
