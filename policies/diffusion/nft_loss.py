"""The forward-process loss on finished images, whichever policy and sampler made them (DiffusionNFT, arXiv 2509.16117).

An image is noised again along the forward process and the network is asked for it back. With c the new and c_old the
old policy's clean latents, a sample of optimality r in [0, 1] asks for

    r |beta c + (1 - beta) c_old - x0|^2 + (1 - r) |(1 + beta) c_old - beta c - x0|^2

each over its own detached mean error. At c = c_old the gradient is (2r - 1) times a supervised one: an image that is
neither better nor worse than its prompt's others has no pull, whoever sent it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from policies.advantage import STD_EPSILON
from policies.diffusion.denoiser import Denoiser, Prediction, device_of
from policies.diffusion.settings import ForwardSettings
from policies.rollout import REWARD_ROUNDING

# Noise levels are drawn between these: at 0 there is nothing to predict.
LEAST_NOISE, MOST_NOISE = 0.02, 0.98
LEAST_ERROR = 1e-5


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished image as the update takes it."""

    prompt: str
    latents: Tensor  # (*latent_shape), clean, on the CPU
    reward: float
    external: bool = False
    trained: bool = True  # False: it counts in the normalisation only


@dataclass(frozen=True, slots=True)
class WeightedSample:
    """A sample with what the joint normalisation made of it."""

    sample: Sample
    optimality: float  # r in [0, 1]
    weight: float  # in the mean of the loss


def weigh_samples(
    samples: Sequence[Sample], most: float, external_share: float, own: int
) -> list[WeightedSample]:
    """The samples to train on: rewards normalised to mean 0 and deviation 1 over all samples of a prompt together.

    `most` cuts the normalised rewards, and is where optimality reaches 0 and 1. Normalised by the own samples alone,
    every image of a weaker peer would be a warning and nothing an example: that diverges. Prompts without spread are
    left out. The samples of peers weigh no more together than `external_share` of all, where there are own samples:
    `own` of them, trained here or by their trees.
    """
    by_prompt: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_prompt[sample.prompt].append(sample)
    external = sum(sample.external for sample in samples)
    ratio = external_share / (1 - external_share) if external_share < 1 else float("inf")
    weight = min(1.0, ratio * own / external) if own and external else 1.0
    weighted = []
    for together in by_prompt.values():
        rewards = torch.tensor([sample.reward for sample in together], dtype=torch.float64)
        if rewards.max() - rewards.min() <= REWARD_ROUNDING * rewards.abs().max():  # of one sample too
            continue
        scores = (rewards - rewards.mean()) / (rewards.std() + STD_EPSILON)
        for sample, score in zip(together, scores.clamp(-most, most).tolist(), strict=True):
            share = weight if sample.external else 1.0
            if sample.trained and share > 0:
                weighted.append(WeightedSample(sample, score / (2 * most) + 0.5, share))
    return weighted


@dataclass(frozen=True, slots=True)
class ForwardLoss:
    """One network, its old self and its reference, and how far to go from each."""

    denoiser: Denoiser
    settings: ForwardSettings
    old: Callable[[], AbstractContextManager[None]]  # within it the network has the old policy's weights
    rows: int

    def accumulate(self, samples: Sequence[WeightedSample], generator: torch.Generator) -> float:
        """Adds the gradient of the loss, the weighted mean over `samples` and their draws; returns the loss.

        `generator`, on the CPU, draws noise levels and noise.
        """
        total = sum(sample.weight for sample in samples) * self.settings.draws
        each = [sample for sample in samples for _ in range(self.settings.draws)]
        loss = 0.0
        for first in range(0, len(each), self.rows):
            loss += self._add(each[first : first + self.rows], generator, total)
        return loss

    def _add(self, each: Sequence[WeightedSample], generator: torch.Generator, total: float) -> float:
        device = device_of(self.denoiser)
        clean = torch.stack([weighted.sample.latents for weighted in each])
        levels = torch.rand(len(each), generator=generator) * (MOST_NOISE - LEAST_NOISE) + LEAST_NOISE
        noise = torch.randn(clean.shape, generator=generator)
        signal, spread = self._levels(levels, clean.dim())
        noisy = (signal * clean + spread * noise).to(device)
        levels, clean = levels.to(device), clean.to(device)
        prompts = [weighted.sample.prompt for weighted in each]
        with torch.no_grad():
            with self.old():
                old = self.denoiser.predict_at(noisy, levels, prompts)
            with self.denoiser.reference():
                reference = self.denoiser.predict_at(noisy, levels, prompts)
        new = self.denoiser.predict_at(noisy, levels, prompts)
        optimality = torch.tensor([weighted.optimality for weighted in each], device=device)
        weights = torch.tensor([weighted.weight for weighted in each], device=device) / total
        errors = optimality_errors(new.clean, old.clean, clean, optimality, self.settings.beta)
        errors = errors + self.settings.reference_weight * _velocity_distance(new, reference)
        loss = (weights * errors).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _levels(self, levels: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
        """Signal and noise for latents of so many dimensions: of the straight path, or variance-preserving."""
        shape = (-1, *[1] * (dimensions - 1))
        known = self.denoiser.schedule
        straight = all(abs(a + b - 1) < 1e-3 for a, b in zip(known.signal, known.noise, strict=True))
        signal = 1 - levels if straight else (1 - levels.square()).sqrt()
        return signal.view(shape), levels.view(shape)


def optimality_errors(new: Tensor, old: Tensor, clean: Tensor, optimality: Tensor, beta: float) -> Tensor:
    """The module's formula, one figure a row (B,)."""
    toward = _error(beta * new + (1 - beta) * old, clean)
    away = _error((1 + beta) * old - beta * new, clean)
    return (optimality * toward + (1 - optimality) * away) / beta


def _error(predicted: Tensor, clean: Tensor) -> Tensor:
    """Mean square over the detached mean absolute error: a row pulls alike at every noise level."""
    difference = (predicted - clean).flatten(1)
    return difference.square().mean(1) / difference.detach().abs().mean(1).clamp(min=LEAST_ERROR)


def _velocity_distance(new: Prediction, reference: Prediction) -> Tensor:
    """Mean square between the velocities e - x0 of two predictions, one figure a row (B,)."""
    difference = (new.noise - new.clean) - (reference.noise - reference.clean)
    return difference.flatten(1).square().mean(1)
