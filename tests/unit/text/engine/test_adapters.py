"""What is sampled under adapters of every kind, against the trained model itself after its adapters have moved."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_models import asked, made, teacher_forced
from transformers import PreTrainedModel

from policies.policy import PolicyError
from policies.text.engine import Engine, weights
from policies.text.engine.adapters import effective_weight, moved_adapters

EXPERTS = ("qwen3_moe", "mixtral", "deepseek_v3")
ALL: dict[str, Any] = {"target_modules": "all-linear"}
KINDS: dict[str, dict[str, Any]] = {
    "plain": ALL,
    "dora": {**ALL, "use_dora": True},
    "rslora": {**ALL, "use_rslora": True},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "embedding and head": {"target_modules": ["lm_head", "embed_tokens"]},
    "whole modules": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head", "norm"]},
    "biases": {"target_modules": ["q_proj"], "bias": "all"},
    "single tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [1, 2, 9]},
    "bias of its own": {"target_modules": ["q_proj"], "lora_bias": True},
}


def adapted(model: PreTrainedModel, kind: str) -> PeftModel:
    with torch.random.fork_rng([]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns of what these kinds are
        wrapped: PeftModel = get_peft_model(
            model, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **KINDS[kind])
        )
    return wrapped


def move(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    for weight in (weight for weight in model.parameters() if weight.requires_grad):
        weight.data.add_(0.1 * torch.randn(weight.shape, generator=generator))


def largest_difference(engine: Engine, model: PreTrainedModel) -> float:
    requests = asked(copies=2)
    found = engine.run(requests)
    return max(
        float((teacher_forced(model, request, one.token_ids) - torch.tensor(one.logprobs)).abs().max())
        for request, one in zip(requests, found, strict=True)
    )


@pytest.mark.parametrize("name", EXPERTS)
def test_adapters_of_experts_are_sampled_with_their_experts(name: str) -> None:
    """peft wraps the stacked weights of experts in wrappers of parameters, one inside the other."""
    model = made(name)
    wrapped = adapted(model, "plain")
    assert any("base_layer.base_layer" in path or "experts" in path for path, _ in wrapped.named_parameters())
    engine = Engine(model, (), slots=5)
    move(wrapped)
    engine.refresh()
    assert engine._model is not model and engine._fallback is None
    assert largest_difference(engine, model.eval()) < 1e-4


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_adapter_is_exact(kind: str, tied: bool) -> None:
    model = made("llama", tie_word_embeddings=tied)
    wrapped = adapted(model, kind)
    engine = Engine(model, (), slots=5)
    move(wrapped)
    engine.refresh()
    assert largest_difference(engine, model.eval()) < 1e-4


def test_what_never_trains_lies_in_memory_once() -> None:
    model = made("llama", tie_word_embeddings=True)
    trains = Engine(model, (), slots=5)
    adapted(model, "plain")
    frozen = Engine(model, (), slots=5)
    embedding = model.get_input_embeddings().weight
    assert trains._model.get_input_embeddings().weight.data_ptr() != embedding.data_ptr()
    assert frozen._model.get_input_embeddings().weight.data_ptr() == embedding.data_ptr()


def test_a_kind_that_cannot_be_merged_is_sampled_from_the_trained_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = made("llama")
    adapted(model, "single tokens")
    assert Engine(model, (), slots=5)._model is model
    assert "TrainableTokensWrapper is no adapter that can be merged here" in caplog.text


def test_a_copy_that_forgets_an_adapter_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fresh adapter adds nothing: only a moved one shows what a copy lacks."""

    def forgetful(model: torch.nn.Module, name: str) -> torch.Tensor:
        whole = effective_weight(model, name)
        return model.get_parameter(f"{name[:-7]}.base_layer.weight") if "down_proj" in name else whole

    monkeypatch.setattr(weights, "effective_weight", forgetful)
    model = made("llama")
    adapted(model, "plain")
    engine = Engine(model, (), slots=5)
    assert engine._model is model
    assert "a copy is not exact: log-probs differ" in caplog.text


def test_moved_adapters_are_put_back_bit_for_bit() -> None:
    model = made("llama")
    wrapped = adapted(model, "whole modules")
    before = {name: value.clone() for name, value in wrapped.state_dict().items()}
    with moved_adapters(model):
        moved = [name for name, value in wrapped.state_dict().items() if not torch.equal(value, before[name])]
    assert len(moved) == len([1 for weight in wrapped.parameters() if weight.requires_grad])
    assert all(torch.equal(value, before[name]) for name, value in wrapped.state_dict().items())


def test_an_adapter_that_breaks_its_model_is_refused() -> None:
    """PhiMoE's router is a linear layer that returns a pair, which peft's wrapper cannot add to."""
    model = made("phimoe")
    adapted(model, "plain")
    with pytest.raises(PolicyError, match=r"PhimoeForCausalLM cannot be run .*lora\.target_modules"):
        Engine(model, (), slots=5)
