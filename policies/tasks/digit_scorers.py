"""Two classifiers of digits: the one behind the reward, and a judge for benchmarks that never sees its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from policies.local_cache import default_cache, require_room, store_folder
from policies.repeatable import one_thread
from policies.seeds import derive_seed
from policies.tasks.digit_images import CLASSES, SIDE, DigitImages, digit_images

# Raised when the training below changes: older weights then stay unused.
SCORER_VERSION = 1
FILE = "classifier.npz"

HIDDEN = 128
STEPS, BATCH, RATE = 800, 128, 2e-3
# Generated digits are less clean than real ones; without noise and smoothing the log-probabilities of what is
# right already would lie within rounding of each other.
NOISE, SMOOTHING = 0.25, 0.02

Floats = npt.NDArray[np.float64]
Judge = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int64]]  # pixels (N, 64) in [-1, 1] to digits (N,)


@dataclass(frozen=True, slots=True)
class Classifier:
    """A perceptron with one hidden layer. Evaluated in float64: a row's figures do not depend on its company."""

    hidden: Floats  # (64 + 1, HIDDEN), biases in the last row
    output: Floats  # (HIDDEN + 1, CLASSES)

    def log_probs(self, pixels: npt.NDArray[np.float32]) -> Floats:
        """Log-probabilities (N, 10) of images (N, 64) in [-1, 1]."""
        active = np.maximum(pixels.astype(np.float64) @ self.hidden[:-1] + self.hidden[-1], 0)
        logits = active @ self.output[:-1] + self.output[-1]
        logits -= logits.max(1, keepdims=True)
        return np.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)))


def reward_classifier(cache_folder: Path | None = None) -> Classifier:
    """Trained on the first half of the images in about two seconds, or read from the cache. Raises OSError."""
    folder = (cache_folder or default_cache()) / f"digit-classifier-{SCORER_VERSION}"
    if not folder.is_dir():
        require_room(folder.parent)
        store_folder(folder, partial(_write, _train(digit_images().halves()[0])))
    with np.load(folder / FILE, allow_pickle=False) as stored:
        return Classifier(stored["hidden"], stored["output"])


@cache
def judge() -> Judge:
    """A support vector machine on the second half: another architecture, other data. For evaluation alone."""
    from sklearn.svm import SVC

    half = digit_images().halves()[1]
    machine = SVC(gamma="scale", C=10.0).fit(half.pixels, half.digits)

    def digits_in(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        return np.asarray(machine.predict(pixels), dtype=np.int64)

    return digits_in


def _write(classifier: Classifier, folder: Path) -> None:
    np.savez(folder / FILE, hidden=classifier.hidden, output=classifier.output)


def _train(data: DigitImages) -> Classifier:
    """Deterministic on one machine: one thread, a generator of its own, and torch's global one left alone."""
    import torch
    from torch.nn.functional import cross_entropy

    generator = torch.Generator().manual_seed(derive_seed(0, "digit classifier"))
    pixels, digits = torch.from_numpy(data.pixels), torch.from_numpy(data.digits)
    inputs = SIDE * SIDE
    hidden = torch.randn(inputs + 1, HIDDEN, generator=generator).mul_((2 / inputs) ** 0.5)
    output = torch.randn(HIDDEN + 1, CLASSES, generator=generator).mul_((2 / HIDDEN) ** 0.5)
    hidden[-1], output[-1] = 0.0, 0.0
    weights = [hidden.requires_grad_(), output.requires_grad_()]
    optimiser = torch.optim.Adam(weights, RATE)
    with one_thread():
        for _ in range(STEPS):
            drawn = torch.randint(len(digits), (BATCH,), generator=generator)
            noisy = pixels[drawn] + NOISE * torch.randn(BATCH, inputs, generator=generator)
            active = torch.relu(noisy @ hidden[:-1] + hidden[-1])
            logits = active @ output[:-1] + output[-1]
            loss = cross_entropy(logits, digits[drawn], label_smoothing=SMOOTHING)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    first, second = (weight.detach().numpy().astype(np.float64) for weight in weights)
    return Classifier(first, second)
