"""The embedded digits network: its recipe and cache, its denoiser, and the picture of what it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from policies.diffusion.digits import LATENT_SHAPE, DigitsDenoiser, DigitsNetwork
from policies.diffusion.digits_start import load_digits_network, recipe_hash, start
from policies.diffusion.image_grid import drawn, write_grid
from policies.diffusion.images import to_images, to_pixels
from policies.diffusion.policy import DiffusionPolicy
from policies.diffusion.settings import DiffusionSettings, DigitsSource
from policies.policy import PolicyError
from policies.rollout import Image, Problem

TINY = DigitsSource(layers=1, heads=2, head_width=4, prompt_width=8, start_steps=2, batch=8, steps=6)
PROMPTS = ["the digit 4", "the digit 9", "the digit 4"]


@pytest.fixture(scope="module")
def network() -> DigitsNetwork:
    return start(TINY)


def test_a_recipe_gives_the_same_weights_and_is_kept(network: DigitsNetwork, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    made = load_digits_network(TINY, tmp_path, lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]
    read = load_digits_network(TINY, tmp_path, lambda done, total: pytest.fail("trained again"))
    for name, value in network.state_dict().items():
        assert torch.equal(made.state_dict()[name], value) and torch.equal(read.state_dict()[name], value)
    assert recipe_hash(TINY) == recipe_hash(
        TINY.model_copy(update={"steps": 20})
    )  # sampling makes no weights
    assert recipe_hash(TINY) != recipe_hash(TINY.model_copy(update={"wrong_labels": 0.1}))


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    folder = tmp_path / f"digits-{recipe_hash(TINY)}"
    folder.mkdir()
    with pytest.raises(PolicyError, match="remove it"):
        load_digits_network(TINY, tmp_path)


def test_predictions_are_consistent_with_the_latents(network: DigitsNetwork) -> None:
    denoiser = DigitsDenoiser(network, 6)
    latents = torch.randn(3, *LATENT_SHAPE)
    for step in range(6):
        seen = denoiser.predict(latents, step, PROMPTS)
        signal, noise = denoiser.schedule.signal[step], denoiser.schedule.noise[step]
        torch.testing.assert_close(signal * seen.clean + noise * seen.noise, latents, atol=1e-5, rtol=1e-5)
    levels = torch.tensor([0.2, 0.9, 0.5])
    together = denoiser.predict_at(latents, levels, PROMPTS)
    alone = denoiser.predict_at(latents[1:2], levels[1:2], PROMPTS[1:2])
    torch.testing.assert_close(together.clean[1:2], alone.clean, atol=1e-5, rtol=1e-5)
    other = denoiser.predict_at(latents[1:2], levels[1:2], PROMPTS[:1])
    assert not torch.allclose(other.clean, alone.clean, atol=1e-4)  # it listens to the prompt
    with pytest.raises(PolicyError, match="draws only 'the digit 0'"):
        denoiser.predict(latents, 0, ["a horse"] * 3)


def test_the_reference_stays_as_the_network_came() -> None:
    denoiser = DigitsDenoiser(start(TINY), 6)
    latents = torch.randn(3, *LATENT_SHAPE)
    before = denoiser.predict(latents, 2, PROMPTS).clean.detach()
    trained = [parameter for parameter in denoiser.module.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.1)
    assert not torch.allclose(denoiser.predict(latents, 2, PROMPTS).clean, before)
    with denoiser.reference():
        assert torch.equal(denoiser.predict(latents, 2, PROMPTS).clean, before)
    assert not denoiser.module.training


def test_images_of_other_sizes_are_encoded_too(network: DigitsNetwork) -> None:
    denoiser = DigitsDenoiser(network, 6)
    flat = Image(20, 13, 3, bytes([255]) * (20 * 13 * 3))
    assert torch.equal(denoiser.encode(to_pixels(flat)[None]), torch.ones(1, *LATENT_SHAPE))


def test_eight_bits_go_back_and_forth() -> None:
    pixels = torch.linspace(-1.2, 1.2, 2 * 3 * 4 * 5).view(2, 3, 4, 5)
    images = to_images(pixels)
    assert [(image.width, image.height, image.channels) for image in images] == [(5, 4, 3)] * 2
    back = torch.stack([to_pixels(image) for image in images])
    torch.testing.assert_close(back, pixels.clamp(-1, 1), atol=1 / 255 + 1e-6, rtol=0)
    assert to_images(back) == images


def test_a_grid_shows_a_row_a_prompt(network: DigitsNetwork, tmp_path: Path) -> None:
    policy = DiffusionPolicy(DigitsDenoiser(network, 6), DiffusionSettings(tree={"splits": {0: 2}}), "digits")
    problems = [Problem("digits@1", digit, f"the digit {digit}", str(digit)) for digit in (3, 5)]
    rows = drawn(policy, problems, 4, seed=1)
    assert rows == drawn(policy, problems, 4, seed=1)
    write_grid(rows, tmp_path / "grid.png")
    with Picture.open(tmp_path / "grid.png") as picture:
        seen = np.asarray(picture)
    assert seen.shape == (4 * (2 * 9 + 1), 4 * (4 * 9 + 1))
    first = np.frombuffer(rows[1][0].pixels, np.uint8).reshape(8, 8)
    assert np.array_equal(seen[4 * 10 : 4 * 18 : 4, 4 : 4 * 9 : 4], first)
    with pytest.raises(ValueError, match="one size"):
        write_grid([], tmp_path / "none.png")
