"""Learning from finished images: the exact identities of the loss, and the joint normalisation that keeps it stable."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from small_denoiser import SHAPE, SmallDenoiser
from torch import Tensor

from policies.diffusion.nft_loss import ForwardLoss, Sample, WeightedSample, optimality_errors, weigh_samples
from policies.diffusion.settings import ForwardSettings

PROMPTS = ("the digit 1", "the digit 2")


def sample(reward: float, prompt: str = PROMPTS[0], external: bool = False, trained: bool = True) -> Sample:
    return Sample(prompt, torch.zeros(SHAPE), reward, external, trained)


def gradient_at(optimality: float, settings: ForwardSettings) -> Tensor:
    """The old policy is the present one, and so is the reference."""
    denoiser = SmallDenoiser()
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(6, *SHAPE, generator=generator)
    samples = [WeightedSample(Sample(PROMPTS[0], image, 0.0), optimality, 1.0) for image in images]
    ForwardLoss(denoiser, settings, nullcontext, rows=5).accumulate(samples, generator)
    return torch.cat([p.grad.flatten() for p in denoiser.module.parameters() if p.grad is not None])


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_an_image_that_is_neither_better_nor_worse_has_no_pull(beta: float) -> None:
    settings = ForwardSettings(beta=beta)
    neutral, good, bad = (gradient_at(optimality, settings) for optimality in (0.5, 1.0, 0.0))
    assert good.abs().max() > 1e-3
    assert neutral.abs().max() < 1e-5 * good.abs().max()
    torch.testing.assert_close(good, -bad)
    torch.testing.assert_close(gradient_at(0.75, settings), good / 2)


def test_the_pull_of_a_good_image_is_supervised_denoising() -> None:
    """At the old policy, with r = 1, the gradient by c is 2 (c - x0) / D over the mean error, whatever beta is."""
    old, clean = torch.randn(3, *SHAPE), torch.randn(3, *SHAPE)
    for beta in (1.0, 0.3):
        new = old.clone().requires_grad_()
        optimality_errors(new, old, clean, torch.ones(3), beta).sum().backward()
        error = (old - clean).abs().mean((1, 2, 3), keepdim=True)
        torch.testing.assert_close(new.grad, 2 * (old - clean) / 64 / error)


def test_the_reference_pulls_back_with_its_weight() -> None:
    denoiser = SmallDenoiser()
    with torch.no_grad():
        for parameter in denoiser.module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    neutral = [WeightedSample(Sample(PROMPTS[0], torch.randn(SHAPE), 0.0), 0.5, 1.0) for _ in range(20)]

    def distance_after(weight: float) -> float:
        loss = ForwardLoss(denoiser, ForwardSettings(reference_weight=weight), nullcontext, rows=99)
        before = [parameter.detach().clone() for parameter in denoiser.module.parameters()]
        denoiser.module.zero_grad()
        loss.accumulate(neutral, torch.Generator().manual_seed(0))
        with torch.no_grad():
            for parameter in denoiser.module.parameters():
                parameter -= 0.5 * (0 if parameter.grad is None else parameter.grad)
            latents = torch.randn(50, *SHAPE, generator=torch.Generator().manual_seed(3))
            levels = torch.full((50,), 0.5)
            new = denoiser.predict_at(latents, levels, [PROMPTS[0]] * 50)
            with denoiser.reference():
                wanted = denoiser.predict_at(latents, levels, [PROMPTS[0]] * 50)
            for parameter, old in zip(denoiser.module.parameters(), before, strict=True):
                parameter.copy_(old)
        return float((new.clean - wanted.clean).square().mean())

    assert distance_after(1.0) < 0.99 * distance_after(0.0)


def test_rewards_are_normalised_over_own_and_foreign_samples_together() -> None:
    weak = [sample(0.1 + 0.01 * number, external=True) for number in range(4)]
    strong = [sample(0.8 + 0.01 * number) for number in range(4)]
    samples = weigh_samples(weak + strong, most=5.0, external_share=0.5, own=4)
    scores = [(weighted.optimality - 0.5) * 10 for weighted in samples]
    assert sum(scores) == pytest.approx(0, abs=1e-9)
    assert all(score < 0 for score in scores[:4]) and all(score > 0 for score in scores[4:])
    rewards = torch.tensor([weighted.sample.reward for weighted in samples], dtype=torch.float64)
    torch.testing.assert_close(
        torch.tensor(scores, dtype=torch.float64), (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    )


def test_prompts_are_normalised_apart_and_those_without_spread_are_left_out() -> None:
    easy, hard = [sample(0.9), sample(0.8)], [sample(0.2, PROMPTS[1]), sample(0.1, PROMPTS[1])]
    optimal = [weighted.optimality for weighted in weigh_samples(easy + hard, 5.0, 0.5, 4)]
    assert optimal == pytest.approx([optimal[0], 1 - optimal[0]] * 2, abs=1e-3)
    assert weigh_samples([sample(0.3), sample(0.3), sample(0.5, PROMPTS[1])], 5.0, 0.5, 3) == []


def test_rewards_that_differ_by_rounding_have_no_spread() -> None:
    assert weigh_samples([sample(0.1 + 0.2), sample(0.3)], 5.0, 0.5, 2) == []


def test_peers_that_are_to_weigh_nothing_are_left_out() -> None:
    both = [sample(0.9, external=True), sample(0.1, external=True), sample(0.4, trained=False)]
    assert weigh_samples(both, 5.0, 0.0, 1) == []


def test_outliers_are_cut_and_optimality_stays_a_probability() -> None:
    crowd = [sample(0.5 + 1e-3 * (number % 2)) for number in range(200)]
    samples = weigh_samples([*crowd, sample(1.0), sample(0.0)], 5.0, 0.5, 200)
    assert samples[-2].optimality == 1.0 and samples[-1].optimality == 0.0
    assert all(0 <= weighted.optimality <= 1 for weighted in samples)


@pytest.mark.parametrize(("share", "external", "own"), [(0.5, 12, 4), (0.25, 4, 4), (0.25, 100, 3)])
def test_peers_weigh_no_more_than_their_share(share: float, external: int, own: int) -> None:
    samples = [sample(number / 100, external=number >= own) for number in range(own + external)]
    samples = weigh_samples(samples, 5.0, share, own)
    theirs = sum(weighted.weight for weighted in samples if weighted.sample.external)
    assert theirs / sum(weighted.weight for weighted in samples) == pytest.approx(share)


def test_few_peers_and_peers_alone_weigh_in_full() -> None:
    few = [sample(number / 10, external=number == 0) for number in range(8)]
    assert {weighted.weight for weighted in weigh_samples(few, 5.0, 0.5, 7)} == {1.0}
    alone = [sample(number / 10, external=True) for number in range(8)]
    assert {weighted.weight for weighted in weigh_samples(alone, 5.0, 0.5, 0)} == {1.0}


def test_samples_may_be_compared_with_and_not_learnt_from() -> None:
    compared = [sample(0.9, external=True, trained=False), sample(0.5), sample(0.1)]
    samples = weigh_samples(compared, 5.0, 0.5, 2)
    assert [weighted.sample.reward for weighted in samples] == [0.5, 0.1]
    assert samples[0].optimality == pytest.approx(0.5)
