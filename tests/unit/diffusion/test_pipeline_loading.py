"""Where a pipeline may come from, what is refused, and what becomes of its text encoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_encoders
import torch

from policies.diffusion.pipeline.adapter import PipelineDenoiser
from policies.diffusion.pipeline.loading import load_denoiser, load_pipeline
from policies.diffusion.pipeline.settings import PipelineSettings
from policies.policy import PolicyError

CPU = torch.device("cpu")
MAKERS = {"sd3": tiny_encoders.sd3, "flux": tiny_encoders.flux}
LENGTH = {"max_sequence_length": 16}


@pytest.fixture(scope="module", params=MAKERS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "pipeline"
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        MAKERS[request.param]().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_encoders.flux().save_pretrained(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def settings(folder: Path, **changes: Any) -> PipelineSettings:
    size = {"height": 16, "width": 16, "steps": 2, "guidance": 3.0}
    given = {"path": str(folder), "dtype": "float32", "lora": None, "call": LENGTH}
    return PipelineSettings(**{**given, **size, **changes})


def own_output(pipe: Any, latents: torch.Tensor, prompt: str) -> torch.Tensor:
    """What the pipeline, text encoders included, gives its scheduler first."""
    outputs: list[torch.Tensor] = []
    step = pipe.scheduler.step

    def spy(output: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        outputs.append(output)
        return step(output, *args, **kwargs)

    pipe.scheduler.step = spy
    size = {"height": 16, "width": 16, "num_inference_steps": 2, "guidance_scale": 3.0}
    pipe(prompt=prompt, latents=latents, output_type="latent", **size, **LENGTH)
    return outputs[0]


def test_what_is_loaded_predicts_as_what_was_saved(saved: Path) -> None:
    denoiser = load_denoiser(settings(saved), CPU)
    latents = torch.randn(1, *denoiser.latent_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = denoiser.output(latents, 0, ["a red fox"])
    assert torch.equal(output, own_output(load_pipeline(settings(saved), CPU), latents, "a red fox"))
    with torch.no_grad():
        assert not torch.equal(output, denoiser.output(latents, 0, ["a blue fox"]))


def test_bfloat16_weights_predict_in_float32(saved: Path) -> None:
    denoiser = load_denoiser(settings(saved, dtype="bfloat16"), CPU)
    latents = torch.randn(2, *denoiser.latent_shape)
    with torch.no_grad():
        predicted = denoiser.predict(latents, 1, ["a", "b"])
    assert {p.dtype for p in denoiser.module.parameters()} == {torch.bfloat16}
    assert predicted.clean.dtype == predicted.noise.dtype == torch.float32
    # The latents were not rounded on the way: clean and noise give them back to float32's precision.
    signal, noise = denoiser.schedule.signal[1], denoiser.schedule.noise[1]
    assert torch.allclose(signal * predicted.clean + noise * predicted.noise, latents, atol=1e-5)


def test_text_encoders_leave_the_pipeline_and_can_be_dropped(saved: Path) -> None:
    pipe = load_pipeline(settings(saved), CPU)
    encoders = [name for name in pipe.components if name.startswith("text_encoder")]
    assert encoders and all(getattr(pipe, name) is not None for name in encoders)
    denoiser = PipelineDenoiser(pipe, settings(saved, text_encoders="drop"), CPU)
    assert all(getattr(pipe, name) is None for name in encoders)
    denoiser.prepare(["a fox"])
    latents = torch.randn(1, *denoiser.latent_shape)
    with torch.no_grad():
        denoiser.predict(latents, 0, ["a fox"])
        with pytest.raises(PolicyError, match=r"'a hen' was not among .* offload or keep"):
            denoiser.predict(latents, 0, ["a hen"])


def test_each_prompt_is_read_once_while_it_is_remembered(saved: Path) -> None:
    pipe = load_pipeline(settings(saved), CPU)
    asked: list[str] = []
    own = pipe.text_encoder.forward
    pipe.text_encoder.forward = lambda *args, **kwargs: asked.append("") or own(*args, **kwargs)
    denoiser = PipelineDenoiser(pipe, settings(saved, cached_prompts=2), CPU)
    denoiser.prepare(["a", "b"])
    before = len(asked)
    denoiser.prepare(["b", "a", "b"])
    assert len(asked) == before
    denoiser.prepare(["c"])  # b was used before a: it goes
    between = len(asked)
    denoiser.prepare(["a"])
    assert len(asked) == between > before
    denoiser.prepare(["b"])
    assert len(asked) > between


def test_pickled_weights_are_refused(folder: Path) -> None:
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(PolicyError, match=r"transformer holds only pickled weights .* save_pretrained"):
        load_pipeline(settings(folder), CPU)


def test_code_is_never_run(folder: Path) -> None:
    (folder / "None.py").write_text("raise SystemExit('ran')")
    with pytest.raises(PolicyError, match=r"code of its own \(None.py\), which is never run"):
        load_pipeline(settings(folder), CPU)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("_class_name", ["mine", "MyPipeline"], "a pipeline of its own"),
        ("_class_name", "MyPipeline", "a pipeline of its own"),
        ("transformer", ["antigravity", "Fly"], "its transformer from antigravity"),
    ],
)
def test_an_index_cannot_name_other_libraries(folder: Path, key: str, value: Any, why: str) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, key: value}))
    with pytest.raises(PolicyError, match=why):
        load_pipeline(settings(folder), CPU)


def test_a_name_that_leads_nowhere_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PolicyError, match=r"cannot load nobody/nothing.*hf download"):
        load_pipeline(PipelineSettings(path="nobody/nothing"), CPU)


def test_a_gated_model_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def gated(*_: Any, **__: Any) -> None:
        raise OSError("401 Client Error. Cannot access gated repo")

    monkeypatch.setattr("diffusers.DiffusionPipeline.load_config", gated)
    with pytest.raises(
        PolicyError, match=r"accept its licence at https://huggingface.co/org/name.*hf auth login"
    ):
        load_pipeline(PipelineSettings(path="org/name"), CPU)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(PolicyError, match=r"no safetensors weights|cannot load"):
        load_pipeline(settings(folder), CPU)


def test_the_adapters_own_arguments_are_refused_in_call() -> None:
    with pytest.raises(ValueError, match="guidance_scale is set by its own key"):
        PipelineSettings(path="a/b", call={"guidance_scale": 2.0})
