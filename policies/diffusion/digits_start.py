"""The digits network's supervised start: it draws well, but often another digit than the asked one.

Flow matching on real images of which a share carries a wrong label, so that there is something left to learn from
rewards. Deterministic: one recipe gives the same weights, bit for bit, on one machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import mse_loss

from policies.diffusion.digits import LATENT_SHAPE, DigitsNetwork
from policies.diffusion.settings import DigitsSource
from policies.error_words import brief
from policies.local_cache import default_cache, require_room, store_folder
from policies.policy import PolicyError
from policies.randomness import seeded
from policies.repeatable import one_thread
from policies.seeds import derive_seed
from policies.tasks.digit_images import CLASSES, digit_images
from policies.tasks.task import TaskError

Progress = Callable[[int, int], None]  # (steps done, steps in all)

# Raised when the architecture or the training changes: older weights then stay unused.
RECIPE_VERSION = 1
FILE = "network.safetensors"


def load_digits_network(
    source: DigitsSource, cache: Path | None = None, progress: Progress | None = None
) -> DigitsNetwork:
    """The network of a recipe, trained now (about 165 s of a CPU core by default) or read from `cache`.

    Safe to call from several processes at once. Raises PolicyError when the cache or the images cannot be had.
    """
    folder = (default_cache() if cache is None else cache) / f"digits-{recipe_hash(source)}"
    try:
        if not folder.is_dir():
            require_room(folder.parent)
            trained = start(source, progress)
            store_folder(folder, partial(_write, trained))
        network = DigitsNetwork(source)
        network.load_state_dict(load_file(folder / FILE))
    except (OSError, SafetensorError) as error:
        raise PolicyError(
            f"cannot use {folder} ({brief(error)}); remove it, or make its parent folder writable"
        ) from error
    return network


def recipe_hash(source: DigitsSource) -> str:
    """Sixteen hex digits over all that decides the weights."""
    recipe = {"version": RECIPE_VERSION, "source": source.model_dump(exclude={"type", "steps"})}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def start(source: DigitsSource, progress: Progress | None = None) -> DigitsNetwork:
    """Builds the network and trains it on CPU with one thread. Raises PolicyError without scikit-learn."""
    try:
        data = digit_images()
    except TaskError as error:
        raise PolicyError(str(error)) from error
    images = torch.from_numpy(data.pixels).view(-1, *LATENT_SHAPE)
    labels = torch.from_numpy(data.digits)
    with one_thread(), seeded(derive_seed(source.seed, "digits start"), torch.device("cpu")):
        network = DigitsNetwork(source)
        optimiser = torch.optim.AdamW(network.parameters(), source.learning_rate)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimiser, source.learning_rate, source.start_steps)
        for step in range(source.start_steps):
            drawn = torch.randint(len(images), (source.batch,))
            loss = _flow_matching(network, images[drawn], _corrupted(labels[drawn], source.wrong_labels))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            scheduler.step()
            if progress is not None:
                progress(step + 1, source.start_steps)
    return network


def _flow_matching(network: DigitsNetwork, images: Tensor, digits: Tensor) -> Tensor:
    """Error of the velocity e - x0 at noise levels that are logistic-normal (arXiv 2403.03206, sec. 3.1)."""
    levels = torch.sigmoid(torch.randn(len(images)))
    noise, level = torch.randn_like(images), levels[:, None, None, None]
    velocity = network((1 - level) * images + level * noise, levels, digits)
    return mse_loss(velocity, noise - images)


def _corrupted(digits: Tensor, share: float) -> Tensor:
    wrong = torch.rand(len(digits)) < share
    return torch.where(wrong, torch.randint(CLASSES, digits.shape), digits)


def _write(network: DigitsNetwork, folder: Path) -> None:
    save_file(network.state_dict(), folder / FILE)
