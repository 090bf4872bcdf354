"""Files that lack weights are refused wherever models are loaded, and no library's table reaches the screen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest
import tiny_encoders
import torch
from safetensors.torch import load_file, save_file
from tiny_families import ROPE, chatml_kind
from tiny_text import tiny_model, tiny_tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPVisionConfig,
)

from policies.diffusion.pipeline.loading import load_pipeline
from policies.diffusion.pipeline.settings import PipelineSettings
from policies.image_rewards.reward_models import load_reward_model
from policies.load_report import LIBRARIES, whole_weights
from policies.policy import PolicyError
from policies.text.export.gguf_file import write_gguf
from policies.text.loading.gguf import load_gguf
from policies.text.loading.weights import load_weights
from policies.text.memory.configuration import read_configuration
from policies.text.model import load
from policies.text.settings import LoraSettings, ModelSettings

CPU = torch.device("cpu")
RANDOM = "its files lack weights that its configuration asks for"


@pytest.fixture(autouse=True)
def libraries_speak(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The libraries' loggers write to standard error as they do in a command; nothing may come of it."""
    handler = logging.StreamHandler()
    for name in LIBRARIES:
        logging.getLogger(name).addHandler(handler)
    yield
    for name in LIBRARIES:
        logging.getLogger(name).removeHandler(handler)
    said = capfd.readouterr()
    assert "REPORT" not in said.err and "TRAIN" not in said.err and "MISSING" not in said.err


def damaged(folder: Path, part: str = "") -> Path:
    """A weight less, and one that nothing asks for."""
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    del weights[next(name for name in sorted(weights, reverse=True) if part in name)]
    save_file(weights | {"stranger.weight": torch.ones(2)}, file, {"format": "pt"})
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_language_model(folder: Path) -> None:
    with pytest.raises(PolicyError, match=RANDOM):
        load(ModelSettings(path=str(damaged(folder, "q_proj"))), CPU)


def test_also_where_the_environment_wants_the_libraries_silent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in LIBRARIES:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.CRITICAL)
    with pytest.raises(PolicyError, match=RANDOM):
        load(ModelSettings(path=str(damaged(folder, "q_proj"))), CPU)
    assert {logging.getLogger(name).level for name in LIBRARIES} == {logging.CRITICAL}


def test_what_the_model_has_no_place_for_is_a_line_in_the_log(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (file,) = folder.glob("*.safetensors")
    save_file(load_file(file) | {"stranger.weight": torch.ones(2)}, file, {"format": "pt"})
    with caplog.at_level(logging.INFO, "policies"):
        load(ModelSettings(path=str(folder)), CPU)
    assert (
        f"{folder}: left out, as the model has no place for it: stranger.weight and the like" in caplog.text
    )


def test_a_checkpoint(folder: Path) -> None:
    with pytest.raises(PolicyError, match=RANDOM):
        load_weights(tiny_model(), damaged(folder, "q_proj"))


def test_an_adapter_to_train_on_from(folder: Path, tmp_path: Path) -> None:
    model, _ = load(ModelSettings(path=str(folder), lora=LoraSettings(rank=2)), CPU)
    model.save_pretrained(tmp_path / "adapter")
    settings = ModelSettings(path=str(folder), adapter=str(tmp_path / "adapter"))
    load(settings, CPU)
    damaged(tmp_path / "adapter")
    with pytest.raises(PolicyError, match=r"adapter.*belongs to another model, or is damaged"):
        load(settings, CPU)


def test_an_adapter_of_a_deeper_model(folder: Path, tmp_path: Path) -> None:
    """The library leaves out what it has no place for, and trains on with the rest."""
    model, _ = load(ModelSettings(path=str(folder), lora=LoraSettings(rank=2)), CPU)
    model.save_pretrained(tmp_path / "adapter")
    [file] = (tmp_path / "adapter").glob("*.safetensors")
    weights = load_file(file)
    weights |= {name.replace("layers.1.", "layers.2."): weights[name].clone() for name in weights}
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(PolicyError, match=r"other layers: .*layers\.2\..*belongs to another model"):
        load(ModelSettings(path=str(folder), adapter=str(tmp_path / "adapter")), CPU)


def test_an_adapter_given_as_the_model_is_told_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(PolicyError, match=r"it is an adapter, not a model\. Set model\.path to its base"):
        read_configuration(ModelSettings(path=str(tmp_path)))


def test_a_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, folder = chatml_kind(), tmp_path / "model"
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    config = AutoConfig.for_model("llama", vocab_size=len(tokenizer), pad_token_id=None, **ends, **ROPE)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    add = gguf.GGUFWriter.add_tensor

    def leaves_one_out(self: gguf.GGUFWriter, name: str, *rest: object, **named: object) -> None:
        if "attn_q" not in name:
            add(self, name, *rest, **named)

    monkeypatch.setattr(gguf.GGUFWriter, "add_tensor", leaves_one_out)
    with pytest.raises(PolicyError, match=RANDOM):
        write_gguf(folder, folder / "model.gguf", "model")  # reads it back
    with pytest.raises(PolicyError, match=RANDOM):
        load_gguf(folder / "model.gguf", torch.float32, tmp_path / "cache")


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_3", "transformer", "vae"])
def test_each_part_of_a_pipeline(part: str, tmp_path: Path) -> None:
    with torch.random.fork_rng([]):
        tiny_encoders.sd3().save_pretrained(tmp_path)
    damaged(tmp_path / part, "bias" if part == "vae" else "weight")
    settings = PipelineSettings(type="pipeline", path=str(tmp_path), lora={"rank": 2})
    with pytest.raises(PolicyError, match=RANDOM):
        load_pipeline(settings, CPU)


def test_a_reward_model(tmp_path: Path) -> None:
    text = tiny_encoders.clip_config(16, 16)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    CLIPModel(config).save_pretrained(tmp_path)
    save_processor(tmp_path)
    with pytest.raises(PolicyError, match=RANDOM):
        load_reward_model("pickscore", str(damaged(tmp_path, "q_proj.weight")), CPU)


@pytest.mark.parametrize(
    "said",
    [
        "Some weights of Net were not initialized from the model checkpoint at x and are newly initialized: ['a.b']\n"
        "You should probably TRAIN this model on a down-stream task",
        "Some weights of Net were not initialized from the model checkpoint at x and are newly initialized because the "
        "shapes did not match:\n- a.b: found shape 1 in the checkpoint and 2 in the model instantiated",
        "\x1b[1mNet LOAD REPORT\x1b[0m from: x\nKey | Status |\n---+---\na.b | \x1b[31mMISSING\x1b[0m |\n",
        "Net LOAD REPORT from: x\nKey | Status |\n---+---\na.b   | MISMATCH | Reinit due to size mismatch",
        "Net LOAD REPORT from: x\nKey | Status |\n---+---\na.{0, 1}.b | MISSING |",  # layers together
    ],
)
def test_each_way_of_saying_it_is_understood(said: str) -> None:
    with pytest.raises(PolicyError, match=r"asks for \(a\.(\{0, 1\}\.)?b\)"), whole_weights("x"):
        logging.getLogger(LIBRARIES[-1]).warning(said)


def test_other_words_of_the_libraries_pass(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger(LIBRARIES[0]).addHandler(caplog.handler)
    with whole_weights("x"):
        logging.getLogger(LIBRARIES[0]).warning("a thing that is new")
    logging.getLogger(LIBRARIES[0]).removeHandler(caplog.handler)
    assert "a thing that is new" in caplog.text


def save_processor(folder: Path) -> None:
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(pixels, tiny_encoders.clip_tokenizer()).save_pretrained(folder)
