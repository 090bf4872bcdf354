"""The network interface of diffusion policies: a prediction at one step, whatever family and parametrisation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True, slots=True)
class Schedule:
    """Signal and noise levels at T + 1 points, from pure noise to clean: x = signal * x0 + noise * e."""

    signal: tuple[float, ...]
    noise: tuple[float, ...]

    @property
    def steps(self) -> int:
        return len(self.signal) - 1


@dataclass(frozen=True, slots=True)
class Prediction:
    """The clean latents and the noise that the network sees in noisy latents, in float32."""

    clean: torch.Tensor  # (B, *latent_shape)
    noise: torch.Tensor  # (B, *latent_shape)


class Denoiser(Protocol):
    """Not thread-safe: a prediction under `reference` switches the one network over."""

    @property
    def schedule(self) -> Schedule: ...

    @property
    def latent_shape(self) -> tuple[int, ...]: ...

    @property
    def module(self) -> torch.nn.Module:
        """The network whose parameters that require gradients are trained; adapters where there are any."""
        ...

    def predict(self, latents: torch.Tensor, step: int, prompts: Sequence[str]) -> Prediction:
        """At point `step` of the schedule, 0 <= step < T. `latents` (B, *latent_shape) float32, one prompt a row."""
        ...

    def predict_at(
        self, latents: torch.Tensor, noise_level: torch.Tensor, prompts: Sequence[str]
    ) -> Prediction:
        """At any noise level in (0, 1] of the forward process, one a row (B,): for the forward-process update."""
        ...

    def reference(self) -> AbstractContextManager[None]:
        """Within it predictions are those of the reference policy: adapters off."""
        ...

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) in [-1, 1] to latents."""
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents to images (B, C, H, W) in [-1, 1]."""
        ...


def device_of(denoiser: Denoiser) -> torch.device:
    """Where its network lies: latents are brought there for every evaluation."""
    return next(denoiser.module.parameters()).device
