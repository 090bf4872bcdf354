"""Noise levels of a pipeline's schedule, and the meaning of its network's output at them."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Any

import torch

from policies.diffusion.denoiser import Prediction, Schedule
from policies.policy import PolicyError


class Parametrisation(StrEnum):
    """What the network predicts of x = a x0 + s e."""

    FLOW = "flow"  # e - x0, on the straight path a = 1 - s
    EPSILON = "epsilon"  # e
    V = "v_prediction"  # a e - s x0, with a^2 + s^2 = 1 (arXiv 2202.00512)


class Levels:
    """The schedule of a pipeline, its timesteps, and the way from any noise level to a timestep.

    `scheduler`: the pipeline's own, its `timesteps` set. Raises PolicyError for one that is not understood.
    """

    def __init__(self, scheduler: Any, timesteps: torch.Tensor) -> None:
        self.parametrisation = parametrisation_of(scheduler)
        self.timesteps = timesteps
        self._span = float(scheduler.config.num_train_timesteps)
        self._table = torch.empty(0)  # noise levels at the training timesteps, where those are discrete
        if self.parametrisation is Parametrisation.FLOW:
            noise = _floats(scheduler.sigmas)
            self.schedule = Schedule(tuple(1.0 - level for level in noise), noise)
        else:
            signal = scheduler.alphas_cumprod.double()
            self._table = (1.0 - signal).sqrt().cpu()
            end = getattr(scheduler, "final_alpha_cumprod", torch.tensor(1.0)).double()
            kept = torch.cat([signal[timesteps.long().cpu()], end.reshape(1)])
            self.schedule = Schedule(_floats(kept.sqrt()), _floats((1.0 - kept).sqrt()))
        _check(self.schedule, len(timesteps), scheduler)

    def nearest(self, noise_level: float) -> tuple[torch.Tensor, float, float]:
        """Timestep (scalar), signal and noise level for a noise level in (0, 1].

        Discrete schedules end a little before pure noise and begin a little after none: a level beyond them is taken
        as their last or first. Between two of their timesteps the timestep is interpolated.
        """
        if self.parametrisation is Parametrisation.FLOW:
            # In float32 throughout, as schedulers reckon it, so that a level of the schedule gives its timestep.
            timestep = (torch.tensor(noise_level) * self._span).to(self.timesteps.dtype)
            return timestep, 1.0 - noise_level, noise_level
        table = self._table
        level = min(max(noise_level, float(table[0])), float(table[-1]))
        above = min(max(int(torch.searchsorted(table, level)), 1), len(table) - 1)
        low, high = float(table[above - 1]), float(table[above])
        between = (level - low) / (high - low)
        return torch.tensor(above - 1 + between), float((1.0 - level**2) ** 0.5), level

    def prediction(
        self, output: torch.Tensor, latents: torch.Tensor, signal: torch.Tensor, noise: torch.Tensor
    ) -> Prediction:
        """Clean latents and noise, from the network's output at `latents`; both (B, *latent_shape), levels (B,).

        The output may be of any floating type; all is reckoned in float32.
        """
        rows = (-1, *[1] * (latents.dim() - 1))
        a, s, said = signal.reshape(rows), noise.reshape(rows), output.float()
        if self.parametrisation is Parametrisation.FLOW:
            return Prediction(latents - s * said, latents + a * said)
        if self.parametrisation is Parametrisation.EPSILON:
            return Prediction((latents - s * said) / a, said)
        return Prediction(a * latents - s * said, s * latents + a * said)


def parametrisation_of(scheduler: Any) -> Parametrisation:
    """Raises PolicyError for a scheduler of another kind."""
    kind = scheduler.config.get("prediction_type")
    if kind == "flow_prediction" or type(scheduler).__name__.startswith("FlowMatch"):
        return Parametrisation.FLOW
    if kind in (Parametrisation.EPSILON, Parametrisation.V) and hasattr(scheduler, "alphas_cumprod"):
        return Parametrisation(kind)
    raise PolicyError(
        f"cannot tell what the network predicts from {type(scheduler).__name__} (prediction_type {kind!r}): only "
        "flow matching, epsilon and v_prediction are understood"
    )


def _floats(levels: torch.Tensor) -> tuple[float, ...]:
    return tuple(float(level) for level in levels)


def _check(schedule: Schedule, steps: int, scheduler: Any) -> None:
    falling = all(before > after for before, after in pairwise(schedule.noise))
    inside = schedule.noise[0] <= 1.0 and schedule.noise[-1] >= 0.0
    if schedule.steps != steps or not falling or not inside:
        raise PolicyError(
            f"{type(scheduler).__name__} gives {steps} timesteps and noise levels {schedule.noise}, which do not fall "
            "from noise to clean in as many steps: another scheduler is needed, such as FlowMatchEuler or DDIM"
        )
