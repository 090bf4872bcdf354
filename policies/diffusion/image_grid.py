"""A picture of what a policy draws: one row a prompt, as a PNG file that a person would look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from policies.policy import RolloutSource, sample_groups
from policies.rollout import Image, Problem

GAP = 1  # pixels of an image between two images
SMALLEST = 32  # pixels that an image's side has at least in the picture
BACKGROUND = 96


def drawn(policy: RolloutSource, problems: Sequence[Problem], columns: int, seed: int) -> list[list[Image]]:
    """`columns` images of each problem, as evaluation samples: equal seeds start from equal noise."""
    groups = sample_groups(policy, problems, columns, seed, held_out=True)
    return [[rollout.image for rollout in group.rollouts if rollout.image] for group in groups]


def write_grid(rows: Sequence[Sequence[Image]], file: Path) -> None:
    """One line of images a row, all of one size, small ones enlarged. Raises ValueError without any, OSError."""
    from PIL import Image as Picture

    sizes = {(image.width, image.height, image.channels) for row in rows for image in row}
    if len(sizes) != 1:
        raise ValueError(f"a grid of images of one size, not of {len(sizes)}")
    ((width, height, channels),) = sizes
    columns = max(map(len, rows))
    shape = (len(rows) * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels)
    canvas = np.full(shape, BACKGROUND, np.uint8)
    for line, row in enumerate(rows):
        for column, image in enumerate(row):
            top, left = GAP + line * (height + GAP), GAP + column * (width + GAP)
            pixels = np.frombuffer(image.pixels, np.uint8).reshape(height, width, channels)
            canvas[top : top + height, left : left + width] = pixels
    times = max(1, -(-SMALLEST // min(width, height)))
    enlarged = canvas.repeat(times, 0).repeat(times, 1)
    Picture.fromarray(enlarged[:, :, 0] if channels == 1 else enlarged).save(file, "PNG")
