"""Seven families through their own call: outputs bit for bit, latents and images as the pipelines make them."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import tiny_pipelines
import torch
from tiny_pipelines import FAMILIES, Family

from policies.diffusion.pipeline.adapter import PipelineDenoiser
from policies.diffusion.pipeline.latents import fitted
from policies.diffusion.pipeline.levels import Levels, Parametrisation
from policies.policy import PolicyError

CPU = torch.device("cpu")
PROMPTS = ["a red fox", "two hens"]
# Those whose own sampler is the plain step that `Prediction` describes, and not a multistep one.
PLAIN = ("sd3", "flux", "qwen", "ltx", "sd1")


def denoiser_of(pipe: Any, family: Family, **changes: Any) -> PipelineDenoiser:
    return PipelineDenoiser(pipe, family.settings(gradient_checkpointing=False, **changes), CPU)


def drawn(denoiser: PipelineDenoiser, rows: int = 2, seed: int = 5) -> torch.Tensor:
    return torch.randn(rows, *denoiser.latent_shape, generator=torch.Generator().manual_seed(seed))


def own_call(
    pipe: Any, family: Family, latents: torch.Tensor, output_type: str = "latent"
) -> tuple[Any, ...]:
    """The pipeline's own sampling: its result, and what it gave its scheduler at each step."""
    given: list[tuple[torch.Tensor, torch.Tensor]] = []
    step = pipe.scheduler.step

    def spy(output: torch.Tensor, timestep: Any, sample: torch.Tensor, **more: Any) -> Any:
        given.append((sample, output))
        return step(output, timestep, sample, **more)

    pipe.scheduler.step = spy
    size = {"height": family.size, "width": family.size, "num_inference_steps": 3}
    options = {"output_type": output_type, "return_dict": False, **size, **family.more}
    result = pipe(prompt=PROMPTS, latents=latents.clone(), **options)[0]
    del pipe.scheduler.step
    return result, given


@pytest.mark.parametrize("name", FAMILIES)
def test_outputs_are_the_pipelines_own_bit_for_bit(name: str) -> None:
    family = FAMILIES[name]
    denoiser = denoiser_of(family.pipeline(), family)
    fresh = family.pipeline()  # the own call, in a pipeline that the adapter has never touched
    _, given = own_call(fresh, family, drawn(denoiser))
    assert len(given) == denoiser.schedule.steps == 3
    for step, (sample, output) in enumerate(given):
        with torch.no_grad():
            assert torch.equal(denoiser.output(sample, step, PROMPTS), output)
    assert not torch.equal(*given[0][1])  # prompts matter


@pytest.mark.parametrize("name", PLAIN)
def test_predictions_lead_to_the_pipelines_own_latents(name: str) -> None:
    """The deterministic step x' = a' clean + s' noise is the families' own sampler."""
    family = FAMILIES[name]
    denoiser = denoiser_of(pipe := family.pipeline(), family)
    latents = drawn(denoiser)
    expected, _ = own_call(pipe, family, latents)
    for step in range(3):
        with torch.no_grad():
            predicted = denoiser.predict(latents, step, PROMPTS)
        signal, noise = denoiser.schedule.signal[step + 1], denoiser.schedule.noise[step + 1]
        latents = signal * predicted.clean + noise * predicted.noise
    assert torch.allclose(latents, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_decoding_is_the_pipelines_own_and_encoding_its_inverse(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = FAMILIES[name]
    denoiser = denoiser_of(pipe := family.pipeline(), family, decode_batch=1)
    latents, _ = own_call(pipe, family, drawn(denoiser))
    images, _ = own_call(pipe, family, drawn(denoiser), output_type="pt")
    decoded = denoiser.decode(latents)
    assert decoded.shape == (2, 3, family.size, family.size)
    expected = images.reshape(decoded.shape)
    assert torch.allclose((decoded + 1.0) / 2.0, expected, atol=1e-6)
    # What the decoder is given, handed out by the encoder, must come back as the latents it was made of.
    raw: list[torch.Tensor] = []
    decode = pipe.vae.decode
    monkeypatch.setattr(pipe.vae, "decode", lambda z, *a, **k: raw.append(z) or decode(z, *a, **k))
    denoiser.decode(latents)
    encode, shown = pipe.vae.encode, iter(raw)

    def encoded(given: torch.Tensor) -> Any:
        result, z = encode(given), next(shown)
        if hasattr(result, "latent_dist"):
            assert result.latent_dist.mode().shape == z.shape
            result.latent_dist.mode = lambda: z
        else:
            result.latent = z
        return result

    monkeypatch.setattr(pipe.vae, "encode", encoded)
    assert torch.allclose(denoiser.encode(decoded), latents, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_pass_through_the_call(name: str) -> None:
    """Along its gradient a loss must rise as fast as the gradient is long."""
    family = FAMILIES[name]
    denoiser = denoiser_of(family.pipeline(), family)
    latents = drawn(denoiser)

    def loss() -> torch.Tensor:
        return denoiser.predict(latents, 1, PROMPTS).clean.double().square().mean()

    loss().backward()
    moved = {p: p.grad for p in denoiser.module.parameters() if p.grad is not None}
    length = torch.stack([g.double().square().sum() for g in moved.values()]).sum().sqrt()
    assert len(moved) > 0.7 * len(list(denoiser.module.parameters()))
    reach = 1e-2
    values = []
    for sign in (1.0, -2.0):
        with torch.no_grad():
            for parameter, gradient in moved.items():
                parameter.add_(gradient, alpha=sign * reach / float(length))
            values.append(float(loss()))
    assert (values[0] - values[1]) / (2 * reach) == pytest.approx(float(length), rel=0.05)


@pytest.mark.parametrize("name", FAMILIES)
def test_any_noise_level_and_rows_that_share_no_call(name: str) -> None:
    family = FAMILIES[name]
    denoiser = denoiser_of(family.pipeline(), family)
    latents = drawn(denoiser, rows=4)
    prompts = [*PROMPTS, *PROMPTS]
    levels = torch.tensor([0.7, denoiser.schedule.noise[1], 0.4, 0.7])  # rows 0 and 3 share a call
    with torch.no_grad():
        together = denoiser.predict_at(latents, levels, prompts)
        for row in range(4):
            one = slice(row, row + 1)
            alone = denoiser.predict_at(latents[one], levels[one], prompts[one])
            assert torch.allclose(together.clean[one], alone.clean, atol=1e-5)
            assert torch.allclose(together.noise[one], alone.noise, atol=1e-5)
        scheduled = denoiser.predict(latents[1:2], 1, prompts[1:2])
    assert torch.allclose(together.clean[1:2], scheduled.clean, rtol=1e-3, atol=1e-4)


def test_prompts_of_different_lengths_are_evaluated_apart() -> None:
    class Reading(diffusers.QwenImagePipeline):
        __module__ = "diffusers"

        def encode_prompt(self, prompt: list[str], *_: Any, **__: Any) -> Any:
            return tiny_pipelines.stacked(prompt, 3 + len(prompt[0]), 16), None

    bare = FAMILIES["qwen"].pipeline()
    pipe = Reading(bare.scheduler, bare.vae, None, None, bare.transformer)
    denoiser = denoiser_of(pipe, FAMILIES["qwen"])
    latents = drawn(denoiser, rows=3)
    with torch.no_grad():
        mixed = denoiser.output(latents, 0, ["ab", "abcdef", "cd"])
        for row, prompt in enumerate(["ab", "abcdef", "cd"]):
            alone = denoiser.output(latents[row : row + 1], 0, [prompt])
            assert torch.allclose(mixed[row : row + 1], alone, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    "scheduler", [diffusers.PNDMScheduler, diffusers.EulerDiscreteScheduler], ids=["pndm", "euler"]
)
def test_samplers_of_other_kinds_become_ddim(prediction: str, scheduler: type) -> None:
    family = FAMILIES["sd1"]
    other = denoiser_of(tiny_pipelines.sd1(prediction, scheduler), family)
    ddim = denoiser_of(tiny_pipelines.sd1(prediction), family)
    assert other.parametrisation == prediction
    assert other.schedule == ddim.schedule


@pytest.mark.parametrize("kind", Parametrisation)
def test_predictions_invert_the_forward_process(kind: Parametrisation) -> None:
    draws = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 4, 3, generator=draws), torch.randn(2, 4, 3, generator=draws)
    s = torch.tensor([0.3, 0.8])
    a = 1.0 - s if kind is Parametrisation.FLOW else (1.0 - s**2).sqrt()
    rows = (slice(None), None, None)
    outputs = {
        Parametrisation.FLOW: noise - clean,
        Parametrisation.EPSILON: noise,
        Parametrisation.V: a[rows] * noise - s[rows] * clean,
    }
    scheduler = diffusers.DDIMScheduler(prediction_type="epsilon")
    scheduler.set_timesteps(2)
    levels = Levels(scheduler, scheduler.timesteps)
    levels.parametrisation = kind
    predicted = levels.prediction(outputs[kind], a[rows] * clean + s[rows] * noise, a, s)
    assert torch.allclose(predicted.clean, clean, atol=1e-6)
    assert torch.allclose(predicted.noise, noise, atol=1e-6)


def test_levels_between_and_beyond_discrete_timesteps() -> None:
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear")
    scheduler.set_timesteps(2)
    levels = Levels(scheduler, scheduler.timesteps)
    table = (1.0 - scheduler.alphas_cumprod.double()).sqrt()
    for index in (0, 400, 999):
        timestep, signal, noise = levels.nearest(float(table[index]))
        assert float(timestep) == pytest.approx(index, abs=1e-4)
        assert (signal, noise) == pytest.approx((float(1 - table[index] ** 2) ** 0.5, float(table[index])))
    between, _, _ = levels.nearest(float(table[400] + table[401]) / 2)
    assert float(between) == pytest.approx(400.5, abs=1e-3)
    assert levels.nearest(1.0)[2] == pytest.approx(float(table[999]))
    assert levels.nearest(1e-6)[2] == pytest.approx(float(table[0]))


class Refusals:
    """Pipelines that cannot be adapted, each with what is said of it."""

    @staticmethod
    def two_networks() -> Any:
        pipe = FAMILIES["wan"].pipeline()
        pipe.register_modules(transformer_2=pipe.transformer)
        return pipe

    @staticmethod
    def lists_for_prompts() -> Any:
        bare = FAMILIES["sd1"].pipeline()
        listed = tiny_pipelines.reading(
            diffusers.StableDiffusionPipeline, lambda self, prompt, *a, **k: ([1, 2], None)
        )
        parts = (bare.vae, None, None, bare.unet, bare.scheduler, None, None)
        return listed(*parts, requires_safety_checker=False)

    @staticmethod
    def unknown_scheduler() -> Any:
        pipe = tiny_pipelines.sd1()
        pipe.scheduler = diffusers.CMStochasticIterativeScheduler()
        return pipe

    @staticmethod
    def no_prompts() -> Any:
        pipe = FAMILIES["sd1"].pipeline()
        return diffusers.DDIMPipeline(pipe.unet, pipe.scheduler)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Refusals.two_networks, "has 2 denoising networks"),
        (Refusals.lists_for_prompts, r"reads a prompt into \(list, NoneType\)"),
        (Refusals.unknown_scheduler, "cannot tell what the network predicts from CMStochasticIterative"),
        (Refusals.no_prompts, "DDIMPipeline does not take prompt, latents, height, width"),
    ],
)
def test_what_cannot_be_adapted_is_refused_with_its_reason(make: Any, why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        denoiser_of(make(), FAMILIES["sd1"])


def test_keys_that_the_pipeline_does_not_know() -> None:
    with pytest.raises(PolicyError, match="does not take frame_rate"):
        denoiser_of(tiny_pipelines.sd1(), FAMILIES["sd1"], call={"frame_rate": 8})


def test_a_video_is_not_an_image() -> None:
    family = FAMILIES["wan"]
    denoiser = denoiser_of(family.pipeline(), family, call={"num_frames": 5})
    assert denoiser.latent_shape[1] == 2
    with pytest.raises(PolicyError, match="gives 5 frames, not an image"):
        denoiser.decode(drawn(denoiser))


def test_images_of_other_sizes_are_fitted_by_their_middle() -> None:
    picture = torch.arange(24.0).reshape(1, 1, 4, 6).expand(2, 1, 4, 6)
    middle = picture[:, :, :, 1:5].expand(-1, 3, -1, -1)
    assert torch.equal(fitted(picture, (4, 4)), middle)
    assert torch.allclose(fitted(picture, (2, 2)).mean(), middle.mean())
    assert torch.equal(fitted(middle, (4, 4)), middle)
    for height, width in ((1, 1), (1, 1024), (700, 3)):
        assert fitted(torch.zeros(1, 3, height, width), (16, 32)).shape == (1, 3, 16, 32)
    denoiser = denoiser_of(FAMILIES["sd3"].pipeline(), FAMILIES["sd3"])
    assert denoiser.encode(torch.zeros(2, 1, 40, 24)).shape == (2, *denoiser.latent_shape)


def test_a_reference_needs_an_adapter() -> None:
    denoiser = denoiser_of(tiny_pipelines.sd1(), FAMILIES["sd1"])
    with pytest.raises(PolicyError, match="set lora"):
        denoiser.reference()


def test_construction_leaves_the_global_generator_alone() -> None:
    pipe = FAMILIES["sd3"].pipeline()
    torch.manual_seed(3)
    denoiser_of(pipe, FAMILIES["sd3"])
    after = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(3))
