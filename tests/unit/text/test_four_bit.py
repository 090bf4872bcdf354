"""QLoRA by the real bitsandbytes, where it is installed: sampler and trainer agree, and the gradient is right."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from node.bench.kit.workloads import requests_for, taught_at_random
from policies.rollout import Problem
from policies.text.policy import TextPolicy
from policies.text.settings import (
    GenerationSettings,
    LoraSettings,
    ModelSettings,
    TextSettings,
    TrainerSettings,
)
from policies.text.tokenizer import build_tokenizer

bitsandbytes = pytest.importorskip("bitsandbytes", reason="the extra bitsandbytes")
PROBLEMS = [Problem("four-bit@1", seed, f"{seed}+1=", "") for seed in range(2)]


def folder_of(path: Path) -> Path:
    """Rows of 64 numbers: the library packs blocks of that many."""
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def policy_of(folder: Path, optimizer: str = "adamw") -> TextPolicy:
    model = ModelSettings(path=str(folder), four_bit=True, lora=LoraSettings(rank=4))
    trainer = TrainerSettings.model_validate({"optimizer": optimizer})
    settings = TextSettings(generation=GenerationSettings(max_new_tokens=8), trainer=trainer)
    return TextPolicy.from_settings(model, settings.settled(), torch.device("cpu"))


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_an_adapter_on_four_bit_weights_samples_and_trains(optimizer: str, tmp_path: Path) -> None:
    policy = policy_of(folder_of(tmp_path / "model"), optimizer)
    layer = policy._model.get_base_model().model.layers[0].mlp.up_proj.base_layer
    assert isinstance(layer, bitsandbytes.nn.Linear4bit)
    for _ in range(2):
        report = policy.update(taught_at_random(PROBLEMS, policy.sample(requests_for(PROBLEMS, 4))))
        assert report is not None and report.grad_norm > 0
        assert report.agreement is not None and report.agreement.largest < 1e-5


def test_the_gradient_is_that_of_the_same_weights_unpacked(tmp_path: Path) -> None:
    model = policy_of(folder_of(tmp_path / "model"))._model.eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.linspace(-0.1, 0.1, weight.numel()).view_as(weight))

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        logits = model(input_ids=torch.arange(3, 15).view(2, 6)).logits
        torch.log_softmax(logits, dim=-1)[:, :, 5].sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    packed = gradients()
    for module in [*model.modules()]:
        for name, child in [*module.named_children()]:
            if isinstance(child, bitsandbytes.nn.Linear4bit):
                plain = torch.nn.Linear(child.in_features, child.out_features, bias=False)
                whole = bitsandbytes.functional.dequantize_4bit(child.weight.data, child.weight.quant_state)
                plain.weight = torch.nn.Parameter(whole.float(), requires_grad=False)
                setattr(module, name, plain)
    unpacked = gradients()
    assert packed.keys() == unpacked.keys() and len(packed) > 10
    for name, gradient in packed.items():
        assert (gradient - unpacked[name]).norm() < 0.02 * unpacked[name].norm(), name
