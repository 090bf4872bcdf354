"""One Gaussian step from a point of the schedule to a later one, for every family of networks.

With x0 and e the network's clean latents and noise, (a, s) and (a', s') the signal and noise levels before and after:

    cps    std = s' sin(eta pi/2)                      mean = a' x0 + sqrt(s'^2 - std^2) e    (arXiv 2509.05952)
    ddim   std = eta s'/s sqrt(s^2 - (a/a')^2 s'^2)    mean as in cps                         (arXiv 2010.02502, eq. 12)
    dance  std = eta sqrt(s - s')                      mean = a' x0 + (s' - std^2 / 2s) e     (arXiv 2505.07818)
    flow   dance with eta sqrt(s / a) for eta                                                 (arXiv 2505.05470)

cps and ddim keep the marginals of the forward process exactly at any step size. dance and flow keep them up to an
error of the order of the step, and leave noise at the last one. eta = 0 is the deterministic step of the ODE.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from policies.diffusion.denoiser import Prediction, Schedule
from policies.diffusion.settings import Kind


@dataclass(frozen=True, slots=True)
class Step:
    """From point `start` of a schedule to point `end`, how noisily: x' = mean + std * n, n standard normal."""

    clean_weight: float  # of x0 in the mean
    noise_weight: float  # of e in the mean
    std: float

    @classmethod
    def between(cls, schedule: Schedule, start: int, end: int, kind: Kind, eta: float) -> Step:
        """`kind` and `eta` 0..1 as in the module's table. Raises ValueError unless 0 <= start < end <= T."""
        if not 0 <= start < end <= schedule.steps:
            raise ValueError(f"no step from {start} to {end} in a schedule of {schedule.steps}")
        signal, noise = schedule.signal[start], schedule.noise[start]
        next_signal, next_noise = schedule.signal[end], schedule.noise[end]
        if kind is Kind.CPS or kind is Kind.DDIM:
            std = next_noise * math.sin(eta * math.pi / 2)
            if kind is Kind.DDIM:
                kept = noise**2 - (signal / next_signal * next_noise) ** 2
                std = eta * next_noise / noise * math.sqrt(max(kept, 0.0))
            return cls(next_signal, math.sqrt(max(next_noise**2 - std**2, 0.0)), std)
        length = noise - next_noise
        rate = eta
        if kind is Kind.FLOW:
            # s / a is unbounded where there is no signal yet: the signal is taken to be one step long at least.
            rate = eta * math.sqrt(noise / max(signal, length))
        return cls(next_signal, next_noise - rate**2 * length / (2 * noise), rate * math.sqrt(length))

    def mean(self, prediction: Prediction) -> Tensor:
        """(B, *latent_shape), differentiable in the prediction."""
        return self.clean_weight * prediction.clean + self.noise_weight * prediction.noise


def log_prob(latents: Tensor, mean: Tensor, std: float) -> Tensor:
    """Normal(mean, std) log-density of each row (B,), AVERAGED over its dimensions.

    The published clip ranges, 1e-4 to 1e-3, belong to the average; times the number of dimensions it is the density.
    """
    scaled = (latents - mean) / std
    constant = math.log(std) + 0.5 * math.log(2 * math.pi)
    return -(0.5 * scaled.square().flatten(1).mean(1) + constant)


def entropy(std: float) -> float:
    """Nats a dimension of a step's noise."""
    return 0.5 * math.log(2 * math.pi * math.e) + math.log(std)
