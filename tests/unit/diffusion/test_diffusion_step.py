"""One Gaussian step against exact laws, diffusers' schedulers and torch's distributions."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from small_denoiser import straight

from policies.diffusion.denoiser import Prediction, Schedule
from policies.diffusion.settings import Kind
from policies.diffusion.step import Step, entropy, log_prob

NOISE = (0.14, 0.11)


def variances(schedule: Schedule, kind: Kind, eta: float) -> list[float]:
    """Variance of x - a x0 after each step, for data of one point, where the network's x0 and e are exact.

    There e = (x - a x0) / s, so a step multiplies the deviation by its noise weight over s and adds its own noise.
    """
    variance, after = schedule.noise[0] ** 2, []
    for start in range(schedule.steps):
        step = Step.between(schedule, start, start + 1, kind, eta)
        assert step.clean_weight == schedule.signal[start + 1]
        variance = (step.noise_weight / schedule.noise[start]) ** 2 * variance + step.std**2
        after.append(variance)
    return after


def variance_preserving(steps: int) -> Schedule:
    angles = [math.pi / 2 * (1 - step / steps) for step in range(steps + 1)]
    return Schedule(tuple(map(math.cos, angles)), tuple(map(math.sin, angles)))


@pytest.mark.parametrize("schedule", [straight(20, 3.0), straight(5), variance_preserving(12)])
@pytest.mark.parametrize(
    ("kind", "eta"), [(Kind.CPS, 0.5), (Kind.CPS, 1.0), (Kind.DDIM, 1.0), (Kind.DDIM, 0.3)]
)
def test_marginals_are_exact_at_any_step_size(schedule: Schedule, kind: Kind, eta: float) -> None:
    after = variances(schedule, kind, eta)
    assert after == pytest.approx([level**2 for level in schedule.noise[1:]], abs=1e-12)
    assert after[-1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("kind", "eta", "factor"), [(Kind.DANCE, 0.3, 4), (Kind.FLOW, 0.7, 2)])
def test_the_sde_steps_miss_the_marginals_less_with_smaller_steps(
    kind: Kind, eta: float, factor: int
) -> None:
    def worst(steps: int) -> float:
        schedule = straight(steps, 3.0)
        after = zip(variances(schedule, kind, eta), schedule.noise[1:], strict=True)
        return max(abs(variance / level**2 - 1) for variance, level in after if level > 0.2)

    assert worst(20) > 0.01
    assert worst(200) < worst(20) / factor


def test_dance_leaves_noise_in_the_image() -> None:
    schedule = straight(20, 3.0)
    before = schedule.noise[19]
    left = variances(schedule, Kind.DANCE, 0.3)[-1]
    exact_so_far = 0.3**2 * before + 0.3**4 / 4  # had the marginal before the last step been exact
    assert left == pytest.approx(exact_so_far, rel=0.05)


@pytest.mark.parametrize("kind", list(Kind))
def test_without_noise_every_kind_is_the_euler_step_of_flow_matching(kind: Kind) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.set_timesteps(10)
    noise = tuple(scheduler.sigmas.tolist())
    schedule = Schedule(tuple(1 - level for level in noise), noise)
    latents, velocity = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8)
    for start, timestep in enumerate(scheduler.timesteps):
        wanted = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        level = noise[start]
        seen = Prediction(latents - level * velocity, latents + (1 - level) * velocity)
        step = Step.between(schedule, start, start + 1, kind, 0.0)
        assert step.std == 0
        torch.testing.assert_close(step.mean(seen), wanted, atol=1e-5, rtol=0)
        latents = wanted


def test_cps_at_its_noisiest_is_flow_matching_with_stochastic_sampling() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0, stochastic_sampling=True)
    scheduler.set_timesteps(10)
    latents, velocity = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8)
    wanted = scheduler.step(
        velocity,
        scheduler.timesteps[0],
        latents,
        generator=torch.Generator().manual_seed(3),
        return_dict=False,
    )[0]
    drawn = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    levels = tuple(scheduler.sigmas.tolist())
    schedule = Schedule(tuple(1 - level for level in levels), levels)
    seen = Prediction(latents - levels[0] * velocity, latents + (1 - levels[0]) * velocity)
    step = Step.between(schedule, 0, 1, Kind.CPS, 1.0)
    torch.testing.assert_close(step.mean(seen) + step.std * drawn, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("eta", [1.0, 0.4])
def test_ddim_equals_the_ddim_scheduler(eta: float) -> None:
    scheduler = DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(10)
    now, after = int(scheduler.timesteps[4]), int(scheduler.timesteps[5])
    kept = [scheduler.alphas_cumprod[t].item() for t in (now, after)]
    schedule = Schedule(tuple(math.sqrt(a) for a in kept), tuple(math.sqrt(1 - a) for a in kept))
    latents, noise = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8)
    wanted = scheduler.step(
        noise, now, latents, eta=eta, generator=torch.Generator().manual_seed(5)
    ).prev_sample
    seen = Prediction((latents - schedule.noise[0] * noise) / schedule.signal[0], noise)
    step = Step.between(schedule, 0, 1, Kind.DDIM, eta)
    drawn = torch.randn(latents.shape, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(step.mean(seen) + step.std * drawn, wanted, atol=1e-5, rtol=0)


def test_the_log_prob_is_the_normal_density_over_the_number_of_dimensions() -> None:
    mean = torch.randn(3, 1, 8, 8)
    latents = mean + 0.2 * torch.randn_like(mean)
    wanted = torch.distributions.Normal(mean, 0.2).log_prob(latents).sum((1, 2, 3))
    torch.testing.assert_close(log_prob(latents, mean, 0.2) * 64, wanted, rtol=1e-4, atol=1e-4)
    assert entropy(0.2) == pytest.approx(float(torch.distributions.Normal(0.0, 0.2).entropy()), rel=1e-6)


def test_variances_that_rounding_takes_below_zero_are_zero() -> None:
    """From no signal DDIM's own noise is all of it: 0.11 / 0.14 * 0.14 is a little more than 0.11."""
    assert NOISE[1] / NOISE[0] * NOISE[0] > NOISE[1]
    step = Step.between(Schedule((0.0, 0.5), NOISE), 0, 1, Kind.DDIM, 1.0)
    assert step.noise_weight == 0.0 and step.std == pytest.approx(NOISE[1])


def test_a_step_to_a_noisier_level_draws_no_noise_of_its_own() -> None:
    step = Step.between(Schedule((0.8, 0.7), (0.2, 0.3)), 0, 1, Kind.DDIM, 1.0)
    assert (step.std, step.noise_weight) == (0.0, 0.3)


def test_a_step_leads_forward_within_the_schedule() -> None:
    for start, end in ((2, 2), (3, 1), (0, 6), (-1, 2)):
        with pytest.raises(ValueError, match="no step"):
            Step.between(straight(5), start, end, Kind.CPS, 0.5)
