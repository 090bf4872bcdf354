"""Reward models of the hub: PickScore's formula on a tiny CLIP model, the others' wiring, errors without them."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_encoders import clip_config, clip_tokenizer
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPVisionConfig

from policies.image_rewards.pickscore import HIGH, LOW
from policies.image_rewards.reward_models import load_reward_model
from policies.image_rewards.scorer import Scaled
from policies.policy import PolicyError

CPU = torch.device("cpu")
PROMPTS = ["a red fox", "two hens that sit on a very long fence", "a red fox"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pickscore")
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=16,
    )
    text = clip_config(16, 16)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = CLIPModel(config)
    model.logit_scale.data.fill_(math.log(100.0))
    model.save_pretrained(made)
    size = {"shortest_edge": 32}
    pixels = CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32})
    CLIPProcessor(pixels, clip_tokenizer()).save_pretrained(made)
    return made


def images(rows: int, side: int = 48) -> torch.Tensor:
    return torch.rand(rows, 3, side, side, generator=torch.Generator().manual_seed(2))


def published_score(folder: Path, image: torch.Tensor, prompt: str) -> float:
    """100 times the cosine, one image at a time, from the towers themselves."""
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    pixels = np.asarray((image * 255).round(), dtype=np.uint8).transpose(1, 2, 0)
    seen = processor(images=Image.fromarray(pixels), return_tensors="pt")
    read = processor(text=[prompt], truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        eye = model.visual_projection(model.vision_model(**seen).pooler_output)[0]
        word = model.text_projection(model.text_model(**read).pooler_output)[0]
    return 100.0 * float(eye @ word / (eye.norm() * word.norm()))


def test_pickscore_is_the_published_formula_on_a_straight_scale(folder: Path) -> None:
    scorer = load_reward_model("pickscore", str(folder), CPU, batch=2)
    assert isinstance(scorer, Scaled)
    batch = images(3)
    expected = [published_score(folder, *pair) for pair in zip(batch, PROMPTS, strict=True)]
    raw = torch.cat([scorer.raw(batch[:2], PROMPTS[:2]), scorer.raw(batch[2:], PROMPTS[2:])])
    assert raw.tolist() == pytest.approx(expected, abs=1e-3)
    assert len(set(expected)) == 3
    rewards = scorer.score(batch, PROMPTS)
    straight = [min(max((score - LOW) / (HIGH - LOW), 0.0), 1.0) for score in expected]
    assert rewards.tolist() == pytest.approx(straight, abs=1e-4)
    assert rewards.dtype == torch.float32


def test_rewards_are_cut_to_the_unit_interval_and_keep_their_distances() -> None:
    scaled = Scaled(lambda batch, prompts: batch[:, 0, 0, 0], low=10.0, high=30.0, batch=2)
    values = torch.tensor([5.0, 10.0, 20.0, 25.0, 35.0])
    rewards = scaled.score(values[:, None, None, None].expand(5, 3, 2, 2), ["a"] * 5)
    assert rewards.tolist() == [0.0, 0.0, 0.5, 0.75, 1.0]
    assert scaled.score(torch.empty(0, 3, 2, 2), []).shape == (0,)
    with pytest.raises(ValueError, match="1 images, 2 prompts"):
        scaled.score(torch.zeros(1, 3, 2, 2), ["a", "b"])


class SmallClip(torch.nn.Module):
    """Speaks open_clip's names: an image is its mean colour, a prompt counts its letters."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(3, 3, bias=False)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.mix(pixels.mean((2, 3)))

    def encode_text(self, letters: torch.Tensor) -> torch.Tensor:
        return letters


@pytest.fixture
def open_clip(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    def preprocess(image: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255

    def letters(prompts: list[str]) -> torch.Tensor:
        return torch.tensor([[float(prompt.count(letter)) for letter in "aet"] for prompt in prompts])

    module: Any = ModuleType("open_clip")
    module.create_model_and_transforms = lambda name, pretrained: (SmallClip(), None, preprocess)
    module.get_tokenizer = lambda name: letters
    monkeypatch.setitem(sys.modules, "open_clip", module)
    return module


def test_hpsv2_is_the_cosine_under_the_checkpoints_weights(open_clip: ModuleType, tmp_path: Path) -> None:
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    torch.save({"epoch": 3, "state_dict": {"mix.weight": weights}}, tmp_path / "hps.pt")
    scorer = load_reward_model("hpsv2", str(tmp_path / "hps.pt"), CPU)
    assert isinstance(scorer, Scaled)
    batch = (images(2, 4) * 255).round() / 255
    seen = batch.mean((2, 3)) * torch.tensor([1.0, 2.0, 3.0])
    read = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    expected = torch.nn.functional.cosine_similarity(seen, read)
    assert torch.allclose(scorer.raw(batch, ["a red fox", "two hens"]), expected, atol=1e-5)


def test_a_checkpoint_that_would_run_code_is_refused(open_clip: ModuleType, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "code": Path}, tmp_path / "hps.pt")
    with pytest.raises(PolicyError, match="cannot load hpsv2"):
        load_reward_model("hpsv2", str(tmp_path / "hps.pt"), CPU)


@pytest.mark.parametrize(
    ("model", "module", "fix"),
    [
        (
            "hpsv2",
            "open_clip",
            r"pip install open_clip_torch, and hf download xswu/HPSv2 HPS_v2.1_compressed.pt",
        ),
        ("imagereward", "ImageReward", r"-m pip install git\+https://github.com/zai-org/ImageReward.git"),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, model: Any, module: str, fix: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(PolicyError, match=rf"cannot load {model}: .*{module}.*{fix}"):
        load_reward_model(model, "", CPU)


def test_missing_weights_are_named_with_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PolicyError, match=r"cannot load pickscore: .*hf download yuvalkirstain/PickScore_v1"):
        load_reward_model("pickscore", "", CPU)


def test_imagereward_is_asked_for_each_image_and_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        def score(self, prompt: str, image: Any) -> float:
            return len(prompt) + float(np.asarray(image)[0, 0, 0])

    module: Any = ModuleType("ImageReward")
    module.load = lambda name, device: Model()
    monkeypatch.setitem(sys.modules, "ImageReward", module)
    scorer = load_reward_model("imagereward", "", CPU)
    assert isinstance(scorer, Scaled)
    dark = torch.zeros(2, 3, 2, 2)
    assert scorer.raw(dark, ["a", "ab"]).tolist() == [1.0, 2.0]
    assert scorer.score(dark, ["a", "ab"]).tolist() == pytest.approx([4 / 6, 5 / 6])
