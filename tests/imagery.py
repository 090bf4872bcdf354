"""Images and a task that asks for them, for tests of what travels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from policies.rollout import Finish, Group, Image, Problem, Rollout


class Brightness:
    """Asks for a bright image; the reward is the mean of its pixels."""

    name = "brightness@1"

    def problem(self, seed: int) -> Problem:
        return Problem(task=self.name, seed=seed, prompt="something bright", answer="")

    def score_images(self, problem: Problem, images: Sequence[Image]) -> list[float]:
        return [sum(image.pixels) / (255 * len(image.pixels)) for image in images]


def grey(level: int, side: int = 8) -> Image:
    """All pixels of one level, but for a corner that tells its neighbours apart."""
    pixels = bytearray([level] * (side * side))
    pixels[0] = (level * 7 + 13) % 256
    return Image(side, side, 1, bytes(pixels))


def photo(width: int, height: int, seed: int = 0) -> Image:
    """Smooth colours with some grain, as a photo compresses."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(9 * x * (c + 1) + 5 * y + generator.uniform(0, 6)) for c in range(3)]
    grain = generator.normal(0, 0.04, (height, width, 3))
    pixels = np.clip(127 + 90 * (np.stack(waves, -1) + grain), 0, 255).astype(np.uint8)
    return Image(width, height, 3, pixels.tobytes())


def image_group(seed: int, images: Sequence[Image]) -> Group:
    """A scored group of `Brightness`."""
    task = Brightness()
    problem = task.problem(seed)
    rewards = task.score_images(problem, images)
    rollouts = [Rollout("", (), Finish.STOP, r, image) for image, r in zip(images, rewards, strict=True)]
    return Group(problem, tuple(rollouts))
