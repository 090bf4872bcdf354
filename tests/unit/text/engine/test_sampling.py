"""The race: its law, its independence, and how little a rounding difference moves it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from policies.text.engine.request import Sampling
from policies.text.engine.sampling import by_double, by_single, choose, exponentials, race

DRAWS = 40_000


def draws(weights: torch.Tensor, key: int = 7) -> torch.Tensor:
    """Shares of every index among draws at positions 0, 1, 2... of one rollout."""
    keys = torch.full((DRAWS,), key)
    drawn = race(weights.expand(DRAWS, -1), keys, torch.arange(DRAWS))
    return torch.bincount(drawn, minlength=len(weights)) / DRAWS


@pytest.mark.parametrize("size", [3, 64, 300, 1024])
def test_indices_are_drawn_in_proportion_to_their_weights(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    weights = torch.rand(size, generator=generator) ** 3
    weights[0] = 0.0
    expected = weights / weights.sum()
    found = draws(weights)
    assert found[0] == 0.0
    chi_square = ((found - expected) ** 2 / expected.clamp(min=1e-12))[1:].sum() * DRAWS
    # Mean size - 2 and variance twice that; five standard deviations.
    assert chi_square < size - 2 + 5 * math.sqrt(2 * size)


def test_noise_is_exponential_and_new_for_every_key_position_and_lane() -> None:
    keys = torch.arange(400).repeat_interleave(50)
    positions = torch.arange(50).repeat(400)
    noise = exponentials(keys, positions, 8)
    assert float(noise.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(noise.var()) == pytest.approx(1.0, abs=0.05)
    assert bool((noise > 0).all()) and bool(noise.isfinite().all())
    assert len(noise.unique()) > 0.99 * noise.numel()
    correlation = torch.corrcoef(noise.T) - torch.eye(8)
    assert float(correlation.abs().max()) < 0.03
    assert torch.equal(exponentials(keys[123:124], positions[123:124], 8)[0], noise[123])


def test_rounding_differences_move_the_race_by_their_own_size() -> None:
    """Against a search in the cumulative distribution, which carries them through all later tokens."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2000, 4096, generator=generator)  # flat: the hard case
    moved = logits + 1e-3 * torch.randn(logits.shape, generator=generator)
    keys, positions = torch.arange(2000), torch.zeros(2000, dtype=torch.long)
    first, second = (torch.softmax(x, -1) for x in (logits, moved))
    by_race = float((race(first, keys, positions) != race(second, keys, positions)).float().mean())
    uniform = torch.rand(2000, 1, generator=generator)
    found = [torch.searchsorted(x.cumsum(-1), uniform * x.sum(-1, keepdim=True)) for x in (first, second)]
    by_search = float((found[0] != found[1]).float().mean())
    assert by_race < 0.01
    assert by_search > 5 * by_race


def test_top_k_and_top_p_keep_the_likeliest_tokens_and_the_untruncated_logprob() -> None:
    probabilities = torch.tensor([0.05, 0.4, 0.3, 0.15, 0.1])
    logits = probabilities.log().expand(4000, -1)
    keys, positions = torch.arange(4000), torch.zeros(4000, dtype=torch.long)

    def drawn(sampling: Sampling) -> set[int]:
        tokens, logprobs = choose(logits, keys, positions, sampling)
        assert torch.allclose(logprobs, probabilities[tokens].log(), atol=1e-5)
        return set(tokens.tolist())

    assert drawn(Sampling()) == {0, 1, 2, 3, 4}
    assert drawn(Sampling(top_k=2)) == {1, 2}
    assert drawn(Sampling(top_p=0.69)) == {1, 2}
    assert drawn(Sampling(top_p=0.71)) == {1, 2, 3}
    assert drawn(Sampling(top_p=0.01)) == {1}
    assert drawn(Sampling(top_k=1, top_p=1.0)) == {1}
    assert drawn(Sampling(temperature=0.0)) == {1}


def test_truncation_leaves_the_proportions_of_what_it_keeps() -> None:
    logits = torch.tensor([0.05, 0.4, 0.2, 0.25, 0.1]).log().expand(DRAWS, -1)
    tokens, _ = choose(logits, torch.arange(DRAWS), torch.zeros(DRAWS, dtype=torch.long), Sampling(top_k=2))
    share = float((tokens == 1).float().mean())
    assert share == pytest.approx(0.4 / 0.65, abs=5 * math.sqrt(0.25 / DRAWS))


def test_temperature_divides_the_logits() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(DRAWS, -1)
    tokens, logprobs = choose(
        logits, torch.arange(DRAWS), torch.zeros(DRAWS, dtype=torch.long), Sampling(0.5)
    )
    expected = torch.softmax(torch.tensor([0.0, 2.0, 4.0]), -1)
    assert logprobs[:5].tolist() == pytest.approx(expected.log()[tokens[:5]].tolist(), abs=1e-5)
    assert float((tokens == 0).float().mean()) == pytest.approx(float(expected[0]), abs=0.01)


def test_logarithms_without_float64_are_the_same_up_to_the_last_bit() -> None:
    """All 52 bits count on both sides: next to 0, where a variable is large, and next to 1, where it is tiny."""
    ends = torch.tensor([0, 1, 2**51 - 1, 2**51, 2**51 + 1, 2**52 - 2, 2**52 - 1])
    generator = torch.Generator().manual_seed(0)
    bits = torch.cat([ends, torch.randint(2**52, (200_000,), generator=generator)])
    plain, single = by_double(bits), by_single(bits)
    assert single.dtype == torch.float32 and bool((single > 0).all())
    assert float(((single - plain).abs() / plain).max()) < 4 * torch.finfo(torch.float32).eps


class Types(TorchDispatchMode):
    """Notes of what types the results are."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.seen.add(out.dtype)
        return out


@pytest.mark.parametrize("device", ["meta", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_no_device_but_a_cpu_is_asked_for_float64(device: str) -> None:
    with Types() as types:
        noise = exponentials(torch.arange(5, device=device), torch.arange(5, device=device), 64)
    assert noise.dtype == torch.float32 and torch.float64 not in types.seen
    if device == "cuda":
        assert torch.allclose(noise.cpu(), exponentials(torch.arange(5), torch.arange(5), 64), rtol=1e-6)
