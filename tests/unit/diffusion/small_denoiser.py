"""A denoiser of a few hundred weights that any test can afford, with a switch for its schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor

from policies.diffusion.denoiser import Prediction, Schedule
from policies.tasks.digits import PROMPTS

SHAPE = (1, 8, 8)


def straight(steps: int, shift: float = 1.0) -> Schedule:
    """The schedule of rectified flow, with the usual shift towards noise."""
    noise = [1 - step / steps for step in range(steps + 1)]
    noise = [shift * level / (1 + (shift - 1) * level) for level in noise]
    return Schedule(tuple(1 - level for level in noise), tuple(noise))


class SmallNetwork(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.prompts = torch.nn.Embedding(len(PROMPTS), 8)
        self.inner = torch.nn.Linear(64 + 1 + 8, 16)
        self.outer = torch.nn.Linear(16, 64)

    def forward(self, latents: Tensor, level: Tensor, digits: Tensor) -> Tensor:
        joined = torch.cat([latents.flatten(1), level[:, None], self.prompts(digits)], 1)
        return self.outer(torch.tanh(self.inner(joined))).view_as(latents)


class SmallDenoiser:
    """Counts the rows that it is asked for, with gradients and without."""

    def __init__(self, steps: int = 8, seed: int = 0) -> None:
        generator_state = torch.get_rng_state()
        torch.manual_seed(seed)
        self.module = SmallNetwork()
        torch.set_rng_state(generator_state)
        self._reference = deepcopy(self.module).requires_grad_(False)
        self._current = self.module
        self.schedule = straight(steps)
        self.latent_shape = SHAPE
        self.rows = {True: 0, False: 0}

    def predict(self, latents: Tensor, step: int, prompts: Sequence[str]) -> Prediction:
        return self.predict_at(latents, latents.new_full((len(latents),), self.schedule.noise[step]), prompts)

    def predict_at(self, latents: Tensor, noise_level: Tensor, prompts: Sequence[str]) -> Prediction:
        self.rows[torch.is_grad_enabled()] += len(latents)
        digits = torch.tensor([PROMPTS.index(prompt) for prompt in prompts])
        velocity = self._current(latents, noise_level, digits)
        level = noise_level[:, None, None, None]
        return Prediction(latents - level * velocity, latents + (1 - level) * velocity)

    @contextmanager
    def reference(self) -> Iterator[None]:
        self._current = self._reference
        try:
            yield
        finally:
            self._current = self.module

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, latents: Tensor) -> Tensor:
        return latents.clamp(-1, 1)
