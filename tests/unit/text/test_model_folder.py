"""Every fault of a model folder, file, adapter or hub id has words of its own, and advice that helps."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError
from tiny_text import problem, tiny_model, tiny_tokenizer
from transformers import Qwen2ForSequenceClassification, T5Config, T5ForConditionalGeneration

from policies.policy import PolicyError, sample_groups
from policies.text.model import attach_lora, load
from policies.text.policy import TextPolicy
from policies.text.settings import GenerationSettings, LoraSettings, ModelSettings, TextSettings

CPU = torch.device("cpu")
DEEP = "[" * 200_000
Damage = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sharded model, its tokenizer beside it."""
    folder = tmp_path / "model"
    tiny_model().save_pretrained(folder, max_shard_size="30KB")
    tiny_tokenizer().save_pretrained(folder)
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    return folder


def first_shard(folder: Path) -> Path:
    return min(folder.glob("model-*.safetensors"))


def edit(name: str, **changes: object) -> Damage:
    def damage(folder: Path) -> None:
        config = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**config, **changes}))

    return damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def adapter_in_place(folder: Path) -> None:
    shutil.rmtree(folder)
    adapted = attach_lora(tiny_model(), LoraSettings(rank=2), 0)
    adapted.peft_config["default"].base_model_name_or_path = "some/base"
    adapted.save_pretrained(folder, save_embedding_layers=False)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "missing shard": (
        lambda f: first_shard(f).unlink(),
        r"1 of its \d weight files are missing \(model-00001",
    ),
    "cut shard": (
        lambda f: cut(first_shard(f)),
        r"model-00001.*is cut or damaged.*copy or download that file",
    ),
    "empty shard": (lambda f: first_shard(f).write_bytes(b""), "is cut or damaged"),
    "lfs pointer": (
        lambda f: first_shard(f).write_text("version https://git-lfs.github.com/spec/v1"),
        "git lfs pull",
    ),
    "damaged index": (lambda f: cut(f / "model.safetensors.index.json"), r"index\.json cannot be read"),
    "no index": (lambda f: (f / "model.safetensors.index.json").unlink(), "neither model.safetensors nor"),
    "no weights": (
        lambda f: [file.unlink() for file in f.glob("model*")],
        r"holds no weights \(model\.safetensors\)",
    ),
    "no tokenizer": (
        lambda f: [file.unlink() for file in f.glob("*tok*")],
        r"no tokenizer; copy tokenizer\.json",
    ),
    "cut tokenizer": (lambda f: cut(f / "tokenizer.json"), r"tokenizer\.json cannot be read"),
    "wrong tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "its tokenizer cannot be read"),
    "no config": (lambda f: (f / "config.json").unlink(), r"no config\.json, so it is no model folder"),
    "cut config": (lambda f: cut(f / "config.json"), r"config\.json cannot be read"),
    "config of a list": (lambda f: (f / "config.json").write_text("[]"), r"config\.json cannot be read"),
    "no architecture": (edit("config.json", model_type=None), "names no model_type"),
    "unknown architecture": (
        edit("config.json", model_type="qwen99"),
        "'qwen99' is unknown to the installed",
    ),
    "other architecture": (edit("config.json", model_type="gpt2"), "lack weights that"),
    "nonsense in config": (
        edit("config.json", hidden_size="many"),
        r"config\.json does not describe a model",
    ),
    "other shapes": (edit("config.json", intermediate_size=96), r"do not fit its config\.json"),
    "more layers": (edit("config.json", num_hidden_layers=3, layer_types=None), "lack weights that"),
    "unknown dtype": (edit("config.json", dtype="float99"), "cannot load"),
    "an adapter": (adapter_in_place, r"it is an adapter.*base \(some/base\) and model\.adapter"),
    "an adapter beside": (
        lambda f: (f / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}'),
        r"some/base.*move adapter_config\.json away",
    ),
    "nested config": (lambda f: (f / "config.json").write_text(DEEP), r"config\.json cannot be read"),
    "nested index": (lambda f: (f / "model.safetensors.index.json").write_text(DEEP), "cannot be read"),
    "nested tokenizer": (
        lambda f: (f / "tokenizer.json").write_text(DEEP),
        r"tokenizer\.json cannot be read",
    ),
    "nested defaults": (lambda f: (f / "generation_config.json").write_text(DEEP), "cannot load"),
    "nested tokens": (lambda f: (f / "special_tokens_map.json").write_text(DEEP), "cannot load"),
    "a pipe": (lambda f: os.mkfifo(f / "special_tokens_map.json"), "is a pipe, a socket or a device"),
    "gone": (shutil.rmtree, "there is no such folder"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_told_as_what_it_is(folder: Path, damage: str) -> None:
    load(ModelSettings(path=str(folder)), CPU)
    apply, words = DAMAGES[damage]
    apply(folder)
    with pytest.raises(PolicyError, match=words) as raised:
        load(ModelSettings(path=str(folder)), CPU)
    said = str(raised.value)
    assert "\n" not in said
    for wrong in ("hf download", "sentencepiece", "can run code"):
        assert wrong not in said


def test_other_kinds_of_models_are_refused(tmp_path: Path) -> None:
    settings = {"vocab_size": 48, "d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8}
    T5ForConditionalGeneration(T5Config(**settings)).save_pretrained(tmp_path / "t5")
    Qwen2ForSequenceClassification(tiny_model().config).save_pretrained(tmp_path / "classifier")
    config = tmp_path / "classifier" / "config.json"
    config.write_text(
        config.read_text().replace('"tie_word_embeddings": true', '"tie_word_embeddings": false')
    )
    for name, words in (
        ("t5", "t5 model is no causal language model"),
        ("classifier", r"\(lm_head\.weight\)"),
    ):
        tiny_tokenizer().save_pretrained(tmp_path / name)
        with pytest.raises(PolicyError, match=words):
            load(ModelSettings(path=str(tmp_path / name)), CPU)


def test_paths_that_are_nearly_right_are_told_what_is_meant(folder: Path) -> None:
    (folder / "x.gguf").write_bytes(b"GGUF")
    for path, words in (
        (folder.parent, f"perhaps {folder} is meant"),
        (first_shard(folder), "give the folder that the file lies in"),
        (folder / "nowhere", "there is no such folder"),
    ):
        with pytest.raises(PolicyError, match=words):
            load(ModelSettings(path=str(path)), CPU)
    (folder / "config.json").unlink()
    with pytest.raises(PolicyError, match=r"give the GGUF file itself, such as .*x\.gguf"):
        load(ModelSettings(path=str(folder)), CPU)


def answer(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/some/model"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            GatedRepoError("403", response=answer(403)),
            r"accept the terms at https://huggingface\.co/some/model",
        ),
        (RepositoryNotFoundError("404", response=answer(404)), "no such repository on the hub"),
        (OfflineModeIsEnabled("offline"), r"cannot be reached.*hf download some/model"),
        (httpx2.ConnectError("Name or service not known"), r"cannot be reached.*hf download some/model"),
        (
            ValueError("some/model does not appear to have a file named config.json."),
            "holds no config.json: of an",
        ),
        (
            ValueError("Couldn't instantiate the backend tokenizer: install sentencepiece"),
            "missing or damaged; take",
        ),
        (OSError(28, "No space left on device"), "no space left on the disk"),
        (PermissionError(13, "Permission denied"), "make the folder writable"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (ModuleNotFoundError("No module named 'tiktoken'", name="tiktoken"), "pip install tiktoken"),
    ],
)
def test_what_keeps_a_repository_from_being_loaded_is_told(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def failing(*_: object, **__: object) -> None:
        try:
            raise error
        except ValueError:
            raise
        except Exception as cause:  # as transformers does
            raise OSError("some/model does not appear to have what is needed") from cause

    monkeypatch.setattr("policies.text.model.check_sizes", failing)
    with pytest.raises(PolicyError, match=words):
        load(ModelSettings(path="some/model"), CPU)


def test_an_import_that_a_library_can_do_without_is_not_blamed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        try:
            raise ModuleNotFoundError("No module named 'flash_attn'", name="flash_attn")
        except ModuleNotFoundError:
            int("many")

    monkeypatch.setattr("policies.text.model.AutoConfig.from_pretrained", failing)
    with pytest.raises(PolicyError, match="invalid literal") as raised:
        load(ModelSettings(path=str(folder)), CPU)
    assert "pip install" not in str(raised.value)


def test_a_path_that_is_no_hub_id_either() -> None:
    with pytest.raises(PolicyError, match="no such folder or file here"):
        load(ModelSettings(path="a/b/c"), CPU)


def test_local_paths_are_kept_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    kept = ModelSettings(path="model", adapter="./adapter")
    assert (kept.path, kept.adapter) == (str(folder), str(folder.parent / "adapter"))
    monkeypatch.chdir("/")
    assert ModelSettings.model_validate(kept.model_dump()) == kept
    assert ModelSettings(path="some/model").path == "some/model"
    assert ModelSettings(path="package:x:*.gguf").path == "package:x:*.gguf"
    assert ModelSettings(path="./gone").path == "/gone", "what is written as a path is never a hub id"
    assert ModelSettings(path="~/gone").path == str(Path.home() / "gone")


def test_an_adapter_is_taken_up_with_its_base(folder: Path, tmp_path: Path) -> None:
    settings = TextSettings(generation=GenerationSettings(max_new_tokens=8))
    trained = attach_lora(tiny_model(), LoraSettings(rank=2), 0)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    trained.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    model = ModelSettings(path=str(folder), adapter=str(tmp_path / "adapter"))
    policy = TextPolicy.from_settings(model, settings, CPU)
    ids = torch.tensor([[7, 8, 9]])
    assert torch.allclose(policy._model(input_ids=ids).logits, trained(input_ids=ids).logits, atol=1e-5)
    assert any(parameter.requires_grad for parameter in policy._model.parameters())
    assert sample_groups(policy, [problem("1+2=")], 2, seed=0)[0].rollouts
    with pytest.raises(PolicyError, match=r"holds no adapter_model\.safetensors"):
        load(ModelSettings(path=str(folder), adapter=str(tmp_path)), CPU)
    with pytest.raises(ValueError, match="set one of the two"):
        ModelSettings(path=str(folder), adapter=str(tmp_path), lora=LoraSettings())
