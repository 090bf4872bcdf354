"""A model as a GGUF file: read back by transformers with equal log-probs and tokens; what it cannot say is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_families import HEAD, ROPE, chatml_kind, gemma_kind, gpt2_kind, llama_kind
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from policies.policy import PolicyError
from policies.text.export.gguf_file import check_gguf, write_gguf
from policies.text.loading.gguf import load_gguf

KINDS: dict[str, dict[str, Any]] = {
    "llama": ROPE,
    "qwen2": ROPE,
    "qwen3": dict(ROPE, head_dim=128),
    "gemma3_text": dict(ROPE, head_dim=256, num_hidden_layers=6, sliding_window=16),
}


def config_of(kind: str, tokenizer: PreTrainedTokenizerFast, **changes: Any) -> Any:
    given = {
        "vocab_size": len(tokenizer) + 3,  # rows without a token, as publishers leave them
        "initializer_range": 0.2,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": None,
    }
    return AutoConfig.for_model(kind, **(KINDS.get(kind, HEAD) | given | changes))


def folder_of(path: Path, config: Any, tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype) -> Path:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config)
        for vector in (
            p for p in model.parameters() if p.ndim == 1
        ):  # norms and biases that are not the first ones
            vector.data += 0.1 * torch.randn_like(vector)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, 2]
    model.to(dtype).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "tied"), [("llama", True), ("qwen2", False), ("qwen3", True), ("gemma3_text", True)]
)
def test_a_file_is_read_back_with_equal_logprobs(
    kind: str, tied: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    tokenizer = gemma_kind() if kind == "gemma3_text" else chatml_kind()
    config = config_of(kind, tokenizer, tie_word_embeddings=tied)
    check_gguf(config, tokenizer)
    folder = folder_of(tmp_path / "model", config, tokenizer, dtype)
    assert write_gguf(folder, folder / "model.gguf", "model") < 1e-5
    tensors = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", dtype=dtype).state_dict()
    ours = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert tensors.keys() == ours.keys()


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("gpt2", {}, "--gguf knows llama, qwen2, qwen3, gemma3_text, and this model is a gpt2"),
        ("llama", {"attention_bias": True}, "attention_bias = True"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "'linear'"),
        ("qwen3", {"head_dim": 64}, "head_dim = 64"),
        ("gemma3_text", {"query_pre_attn_scalar": 128}, "query_pre_attn_scalar = 128"),
        ("gemma3_text", {"layer_types": ["full_attention"] * 6}, "layer_types"),
    ],
)
def test_what_a_file_cannot_say_is_refused(kind: str, changes: dict[str, Any], words: str) -> None:
    config = AutoConfig.for_model(kind) if kind == "gpt2" else config_of(kind, chatml_kind(), **changes)
    with pytest.raises(PolicyError, match=words):
        check_gguf(config, chatml_kind())


def test_tokenizers_of_other_kinds_are_refused() -> None:
    check_gguf(config_of("llama", gpt2_kind()), gpt2_kind())
    with pytest.raises(PolicyError, match="rewrites texts"):
        check_gguf(config_of("llama", llama_kind()), llama_kind())
    strange = chatml_kind()
    strange.backend_tokenizer.pre_tokenizer = None
    with pytest.raises(PolicyError, match="splits texts"):
        check_gguf(config_of("llama", strange), strange)
    with pytest.raises(PolicyError, match="more tokens than"):
        check_gguf(config_of("llama", chatml_kind(), vocab_size=10), chatml_kind())


def test_a_file_that_would_be_read_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout of queries and keys left as it is: the same numbers, another model."""
    from policies.text.export import gguf_model

    plain = gguf_model.Family(gguf_model.FAMILIES["llama"].arch, {})
    monkeypatch.setattr(gguf_model, "FAMILIES", {"llama": plain})
    tokenizer = chatml_kind()
    folder = folder_of(tmp_path, config_of("llama", tokenizer), tokenizer, torch.float32)
    with pytest.raises(PolicyError, match="nats off"):
        write_gguf(folder, folder / "model.gguf", "model")


def test_a_file_is_read_without_a_bar_through_a_nodes_own_lines(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tokenizer = chatml_kind()
    folder = folder_of(tmp_path / "model", config_of("llama", tokenizer), tokenizer, torch.float32)
    write_gguf(folder, folder / "model.gguf", "model")
    load_gguf(folder / "model.gguf", torch.float32, tmp_path / "cache")
    assert "GGUF" not in capfd.readouterr().err


def test_a_file_that_was_converted_before_is_not_parsed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = chatml_kind()
    folder = folder_of(tmp_path / "model", config_of("llama", tokenizer), tokenizer, torch.float32)
    write_gguf(folder, folder / "model.gguf", "model")
    first, _ = load_gguf(folder / "model.gguf", torch.float32, tmp_path / "cache")

    def parse(*_: Any, **__: Any) -> None:
        raise OSError("parsed again")

    monkeypatch.setattr("gguf.GGUFReader", parse)
    with pytest.raises(PolicyError, match="parsed again"):
        load_gguf(folder / "model.gguf", torch.bfloat16, tmp_path / "cache")  # not converted before
    again, _ = load_gguf(folder / "model.gguf", torch.float32, tmp_path / "cache")
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))
