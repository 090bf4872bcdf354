"""The sides of `murmur bench branch`: one policy each, all from the same weights, and what it spent and reached."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.advantage import group_relative
from policies.diffusion.denoiser import Denoiser, Prediction, Schedule
from policies.diffusion.digits import DigitsDenoiser
from policies.diffusion.digits_start import load_digits_network
from policies.diffusion.policy import DiffusionPolicy
from policies.diffusion.settings import DiffusionSettings, DigitsSource
from policies.policy import sample_groups
from policies.rollout import Problem, TrainGroup
from policies.seeds import derive_generator, derive_seed
from policies.tasks.digit_images import CLASSES
from policies.tasks.digit_scorers import judge
from policies.tasks.digits import Digits, pixels_of
from policies.tasks.task import HELD_OUT_SEED, score_group

LEAVES = 16
PROMPTS = 4  # of an iteration
SHOWN = 200  # images of an evaluation, always from the same noise
EVALUATION_SEED = 123

# All step alike, so that the arms differ in what is shared and trained and not in their sampler: DanceGRPO's own
# step leaves noise in the image, which would be counted against the arms that use it.
SAMPLER = {"kind": "cps", "eta": 0.5}
# Sampled and not trained: it takes trained steps an image from 12.6 to 7.6. The paper: from 13.7 to 8.6.
LATE = {"first": 14, "size": 5}
ARMS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "sequential": {"preset": "dancegrpo", **SAMPLER},
        "branchgrpo": {"preset": "branchgrpo", **SAMPLER, "pruned": None},
        "pruned": {"preset": "branchgrpo", **SAMPLER, "pruned": LATE},
        "mix": {"preset": "branchgrpo-mix", **SAMPLER},
        "branch": {"preset": "branch"},
        "mixgrpo": {"preset": "mixgrpo", **SAMPLER},
        "nft": {"preset": "nft"},
    }
)


class Counted:
    """A denoiser that counts the rows that it is asked for: with gradients, and without."""

    def __init__(self, inner: Denoiser) -> None:
        self._inner = inner
        self.trained = self.sampled = 0

    @property
    def schedule(self) -> Schedule:
        return self._inner.schedule

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self._inner.latent_shape

    @property
    def module(self) -> torch.nn.Module:
        return self._inner.module

    def predict(self, latents: Tensor, step: int, prompts: Sequence[str]) -> Prediction:
        self._count(len(latents))
        return self._inner.predict(latents, step, prompts)

    def predict_at(self, latents: Tensor, noise_level: Tensor, prompts: Sequence[str]) -> Prediction:
        self._count(len(latents))
        return self._inner.predict_at(latents, noise_level, prompts)

    def reference(self) -> AbstractContextManager[None]:
        return self._inner.reference()

    def encode(self, images: Tensor) -> Tensor:
        return self._inner.encode(images)

    def decode(self, latents: Tensor) -> Tensor:
        return self._inner.decode(latents)

    def _count(self, rows: int) -> None:
        if torch.is_grad_enabled():
            self.trained += rows
        else:
            self.sampled += rows


@dataclass(frozen=True, slots=True)
class Point:
    """Where an arm stands after some iterations. Processor seconds and rows of training alone, not of evaluation."""

    iteration: int
    reward: float  # of the task, held out
    judged: float  # share of images that the judge takes for the asked digit
    rollout_seconds: float
    training_seconds: float
    sampled: int  # rows evaluated without gradients
    trained: int  # with gradients

    @property
    def seconds(self) -> float:
        return self.rollout_seconds + self.training_seconds

    @property
    def evaluations(self) -> int:
        """A backward pass counts as two evaluations more."""
        return self.sampled + 3 * self.trained


class Arm:
    """One side of the comparison under one seed: equal seeds meet equal prompts."""

    def __init__(self, name: str, task: Digits, source: DigitsSource, seed: int) -> None:
        self.name = name
        self.points: list[Point] = []
        self._task, self._seed, self._judge = task, seed, judge()
        self._denoiser = Counted(DigitsDenoiser(load_digits_network(source), source.steps))
        settings = DiffusionSettings.model_validate({"tree": ARMS[name]})
        self._policy = DiffusionPolicy(self._denoiser, settings, source.type, seed)
        self._rollout_seconds = self._training_seconds = 0.0
        self._sampled = self._trained = 0
        self._iteration = 0

    def iterate(self) -> None:
        """One round of a node, without the node: prompts, images, rewards, update."""
        self._iteration += 1
        start, sampled, trained = time.process_time(), self._denoiser.sampled, self._denoiser.trained
        seed = derive_seed(self._seed, "branch", self._iteration)
        groups = [
            score_group(self._task, group)
            for group in sample_groups(self._policy, list(self._problems()), LEAVES, seed)
        ]
        middle = time.process_time()
        self._policy.update([TrainGroup(group, group_relative(group.rewards)) for group in groups])
        self._rollout_seconds += middle - start
        self._training_seconds += time.process_time() - middle
        self._sampled += self._denoiser.sampled - sampled
        self._trained += self._denoiser.trained - trained

    def evaluate(self) -> Point:
        """Held-out reward, and what the judge says of the same images."""
        problems = [self._task.problem(HELD_OUT_SEED + number) for number in range(SHOWN)]
        groups = [
            score_group(self._task, group)
            for group in sample_groups(self._policy, problems, 1, EVALUATION_SEED, held_out=True)
        ]
        reward = float(np.mean([group.mean_reward for group in groups]))
        images = [rollout.image for group in groups for rollout in group.rollouts if rollout.image]
        seen, asked = self._judge(pixels_of(images)), [int(problem.answer) for problem in problems]
        point = Point(
            self._iteration,
            reward,
            float((seen == np.array(asked)).mean()),
            self._rollout_seconds,
            self._training_seconds,
            self._sampled,
            self._trained,
        )
        self.points.append(point)
        return point

    def _problems(self) -> Iterator[Problem]:
        drawn = derive_generator(self._seed, "prompts", self._iteration).permutation(CLASSES)
        return (self._task.problem(int(digit)) for digit in drawn[:PROMPTS])
