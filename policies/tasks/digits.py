"""The embedded image task: draw the digit that is asked for; a small classifier gives the reward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from policies.error_words import brief
from policies.rollout import Image, Problem
from policies.tasks import DIGITS
from policies.tasks.digit_images import CLASSES, SIDE
from policies.tasks.digit_scorers import Classifier, reward_classifier
from policies.tasks.task import TaskError, TaskSpec

PROMPTS = tuple(f"the digit {digit}" for digit in range(CLASSES))
# The log-probability at which the reward is 0; at a probability of 1 it is 1, linear in between.
WORST_LOG_PROB = -8.0


class Digits:
    """`digits@1`. Reward: 1 + max(log p, -8) / 8, where p is the classifier's probability of the asked digit."""

    name = f"{DIGITS}@1"

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def problem(self, seed: int) -> Problem:
        digit = seed % CLASSES
        return Problem(self.name, seed, PROMPTS[digit], str(digit))

    def score_images(self, problem: Problem, images: Sequence[Image]) -> list[float]:
        if not images:
            return []
        log_probs = self._classifier.log_probs(pixels_of(images))[:, int(problem.answer)]
        return [float(reward) for reward in 1 + np.clip(log_probs, WORST_LOG_PROB, 0) / -WORST_LOG_PROB]


def build_digits_task(spec: TaskSpec) -> Digits:
    """Raises TaskError when parameters are given, or when the classifier cannot be had."""
    if spec.params:
        raise TaskError(f"{DIGITS} takes no parameters, but was given {', '.join(sorted(spec.params))}")
    try:
        return Digits(reward_classifier())
    except OSError as error:
        raise TaskError(
            f"the digit classifier cannot be kept ({brief(error)}); make its folder writable"
        ) from error


def pixels_of(images: Sequence[Image]) -> npt.NDArray[np.float32]:
    """Images of any size as grey rows (N, 64) in [-1, 1], as the classifier and the judge take them."""
    return np.stack([_grey(image) for image in images])


def _grey(image: Image) -> npt.NDArray[np.float32]:
    """The mean over channels; of another size, the mean of the pixels that fall into each of the 8 x 8 cells."""
    pixels = np.frombuffer(image.pixels, np.uint8).astype(np.float32)
    if (image.height, image.width) == (SIDE, SIDE):
        grey = pixels.reshape(SIDE, SIDE, image.channels).mean(2)
    else:
        # Rows first, all channels in one product: a mean over channels takes ten times as long.
        rows = _cells(image.height) @ pixels.reshape(image.height, image.width * image.channels)
        columns = np.repeat(_cells(image.width) / image.channels, image.channels, axis=1)
        grey = rows @ columns.T
    return np.asarray(grey / 127.5 - 1, dtype=np.float32).reshape(-1)


@lru_cache(maxsize=64)
def _cells(length: int) -> npt.NDArray[np.float32]:
    """Weights (8, length) that average `length` pixels into 8 cells of equal width; each row sums to 1."""
    edges = np.linspace(0, length, SIDE + 1)[:, None]
    pixel = np.arange(length)[None]
    overlap = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
    weights = np.clip(overlap, 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), dtype=np.float32)
