"""scikit-learn's handwritten digits: 1,797 real images of 8 x 8 grey pixels that come inside its wheel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from policies.install_hints import install_extras
from policies.seeds import derive_generator
from policies.tasks.task import TaskPackageMissing

SIDE = 8
CLASSES = 10


@dataclass(frozen=True, slots=True)
class DigitImages:
    """Images (N, 64) in [-1, 1] with their digits (N,)."""

    pixels: npt.NDArray[np.float32]
    digits: npt.NDArray[np.int64]

    def halves(self) -> tuple[DigitImages, DigitImages]:
        """Two sets without a common image: one for the reward's classifier, one for the judge."""
        middle = len(self.digits) // 2
        return (
            DigitImages(self.pixels[:middle], self.digits[:middle]),
            DigitImages(self.pixels[middle:], self.digits[middle:]),
        )


@cache
def digit_images() -> DigitImages:
    """All images in one fixed order. Raises TaskError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise TaskPackageMissing(f"digits need scikit-learn: {install_extras('diffusion')}") from error
    found = load_digits()
    order = derive_generator(0, "digits").permutation(len(found.target))
    pixels = (found.data[order] / 8 - 1).astype(np.float32)
    return DigitImages(pixels, found.target[order].astype(np.int64))
