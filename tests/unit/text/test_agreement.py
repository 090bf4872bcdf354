"""What samples is what trains: fresh own rollouts, scored by the trainer, in families of every kind."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_text import mixed_batch, problem, tiny_model, tiny_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from policies.advantage import group_relative
from policies.policy import Rounding, SamplerAgreement, sample_groups
from policies.rollout import TrainGroup
from policies.text.agreement import EXACT, ROUNDED, AgreementMeter, expected_rounding
from policies.text.batching import Row, rows_of
from policies.text.chat.settings import PromptSettings
from policies.text.encoding import Encoding
from policies.text.model import attach_lora
from policies.text.policy import TextPolicy
from policies.text.settings import GenerationSettings, LoraSettings, TextSettings, TrainerSettings

# Unequal prompts, one of them longer than every window below.
PROBLEMS = [problem("1+2="), problem("sort 528314420 and 9 or 11")]
SETTINGS = TextSettings(
    generation=GenerationSettings(max_new_tokens=14), trainer=TrainerSettings(learning_rate=5e-3)
)


def policy_of(model: torch.nn.Module, settings: TextSettings = SETTINGS) -> TextPolicy:
    return TextPolicy(model, tiny_tokenizer(), settings)


def update(policy: TextPolicy, seed: int, disturbance: float = 0.0) -> SamplerAgreement:
    """On fresh rollouts; weights move by `disturbance` between sampling and training."""
    rng = random.Random(seed)
    groups = sample_groups(policy, PROBLEMS, 3, seed)
    with torch.no_grad():
        for weight in policy._model.parameters() if disturbance else ():
            weight.add_(disturbance * torch.randn_like(weight))
    report = policy.update(
        [TrainGroup(g, group_relative([rng.random() for _ in g.rollouts])) for g in groups]
    )
    assert report is not None and report.agreement is not None
    assert report.agreement.tokens == sum(len(r.token_ids) for g in groups for r in g.rollouts)
    return report.agreement


def family(name: str) -> PreTrainedModel:
    sizes = {"vocab_size": len(tiny_tokenizer()), "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        config = AutoConfig.for_model(name, **{**sizes, **FAMILIES[name]})
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


WIDE = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
}
OLD = {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.15}
WINDOW = {"head_dim": 12, "sliding_window": 6}
EXPERTS = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
# One of each kind: learned positions, dropout and skipped layers, windows as arguments and as masks, softcaps, layers
# of unequal widths, experts stacked and routed with jitter, latents, sinks, recurrent states.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": WIDE,
    "gpt2": OLD,
    "gpt_bigcode": OLD,
    "opt": {**WIDE, "ffn_dim": 96, "word_embed_proj_dim": 48, "layerdrop": 0.3, "init_std": 0.15},
    "xglm": {"d_model": 48, "num_layers": 2, "attention_heads": 4, "ffn_dim": 96, "init_std": 0.15},
    "gpt_neo": {
        "hidden_size": 48,
        "num_layers": 2,
        "num_heads": 4,
        "max_position_embeddings": 256,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 6,
        "initializer_range": 0.15,
    },
    "biogpt": WIDE,
    "gemma3_text": {**WIDE, **WINDOW},
    "gemma2": {**WIDE, **WINDOW},
    "gemma3n_text": {
        **WIDE,
        **WINDOW,
        "intermediate_size": [48, 96, 48],
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "vocab_size_per_layer_input": len(tiny_tokenizer()),
        "hidden_size_per_layer_input": 8,
        "num_kv_shared_layers": 0,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0] * 3,
    },
    "qwen2_moe": {
        **WIDE,
        **EXPERTS,
        "num_experts": 4,
        "shared_expert_intermediate_size": 32,
        "use_sliding_window": True,
        "sliding_window": 6,
        "max_window_layers": 1,
    },
    "qwen3_moe": {**WIDE, **EXPERTS, "head_dim": 12, "num_experts": 4},
    "mixtral": {**WIDE, "num_local_experts": 4, "router_jitter_noise": 0.3},
    "deepseek_v3": {
        **WIDE,
        **EXPERTS,
        "num_key_value_heads": 4,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 12,
        "n_routed_experts": 4,
        "n_group": 2,
        "topk_group": 1,
    },
    "gpt_oss": {**WIDE, **WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2},
    "doge": {**WIDE, "sliding_window": 6},
    "rwkv": {"hidden_size": 48, "num_hidden_layers": 2},
}

# Learned positions, which count padding unless they are told where a row begins.
COUNTED_FROM_PADDING = ("gpt2", "gpt_bigcode", "xglm", "gpt_neo", "biogpt")


@pytest.mark.parametrize("name", list(FAMILIES))
def test_after_ten_updates_of_an_adapter_sampler_and_trainer_are_one_policy(name: str) -> None:
    adapted = attach_lora(family(name), LoraSettings(rank=4), seed=0)
    policy = policy_of(adapted)
    if name in COUNTED_FROM_PADDING:
        assert not policy._trainer._one_row, "its unequal prompts share micro-batches"
    agreements = [update(policy, seed) for seed in range(11)]
    moved = [float(w.detach().abs().max()) for n, w in adapted.named_parameters() if "lora_B" in n]
    assert max(moved) > 1e-2, "nothing was trained"
    assert max(agreement.largest for agreement in agreements) < 1e-4
    assert not any(agreement.clipped_share or agreement.off for agreement in agreements)


def test_an_adapters_own_dropout_does_not_blur_the_comparison() -> None:
    adapted = attach_lora(family("llama"), LoraSettings(rank=4, dropout=0.5), seed=0)
    policy = policy_of(adapted)
    assert update(policy, 0).largest < 1e-4


def test_a_sampler_of_other_weights_is_noticed() -> None:
    policy = policy_of(tiny_model())
    assert not update(policy, 0).off
    agreement = update(policy, 1, disturbance=0.3)
    assert agreement.off and agreement.mean > 0.1 and agreement.clipped_share > 0.1


@pytest.mark.parametrize(
    ("mean", "clipped", "rounding", "off"),
    [
        (0.085, 5 / 53, ROUNDED, False),  # Gemma in its seventh round, sampled in bfloat16
        (0.085, 0.12, ROUNDED, True),
        (0.15, 0.0, ROUNDED, True),
        (0.0005, 0.05, EXACT, True),
        (0.0005, 0.01, EXACT, False),
        (math.nan, 0.0, ROUNDED, True),
    ],
)
def test_coarse_arithmetic_explains_more_of_both(
    mean: float, clipped: float, rounding: Rounding, off: bool
) -> None:
    assert SamplerAgreement(53, mean, 0.75, clipped, rounding).off is off


def test_only_fresh_own_tokens_are_compared() -> None:
    rows = rows_of(mixed_batch(), Encoding(tiny_tokenizer(), PromptSettings(), 64).problem_prompt)
    meter = AgreementMeter((0.2, 0.28), EXACT)
    own = [row for row in rows if row.sampled is not None]
    meter.add(rows, [[0.0] * len(row.token_ids) for row in rows])
    found = meter.result()
    assert found is not None and 0 < found.tokens == sum(len(row.token_ids) for row in own) < sum(
        len(row.token_ids) for row in rows
    )
    assert found.largest == pytest.approx(max(abs(value) for row in own for value in row.sampled or ()))


def test_differences_are_counted_as_they_are() -> None:
    row = Row((1,), (2, 3, 4, 5), 1.0, (-1.0, -1.0, -1.0, -1.0), sampled=(-1.0, -1.0, -1.0, -1.0))
    meter = AgreementMeter((0.2, 0.28), EXACT)
    assert meter.result() is None
    meter.add([replace(row, stale=(False, False, False, True))], [[-1.0, -0.5, -1.5, 9.0, 0.0]])
    assert meter.result() == SamplerAgreement(3, pytest.approx(1 / 3), 0.5, pytest.approx(2 / 3), EXACT)
    assert AgreementMeter((0.2, 0.28), EXACT).result() is None


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("sampled", [torch.float32, torch.bfloat16])
def test_what_rounding_explains_follows_the_arithmetic(bf16: bool, sampled: torch.dtype) -> None:
    settings = TextSettings(trainer=TrainerSettings(bf16=bf16))
    exact = not bf16 and sampled == torch.float32
    assert expected_rounding(tiny_model(), sampled, settings) == (EXACT if exact else ROUNDED)


def test_a_head_that_trl_does_not_know_is_scored_by_its_logits() -> None:
    """RecurrentGemma caps its logits under a name of its own; caps show only where logits lie far apart."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 1}
    vocabulary = {
        "vocab_size": len(tiny_tokenizer()),
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    config = AutoConfig.for_model("recurrent_gemma", **sizes, **vocabulary, intermediate_size=96)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    policy = policy_of(model)
    assert policy._trainer._by_logits
    fallback = policy._engine._fallback
    assert fallback is not None and not fallback.padded, "its convolutions see padding once that is trained"
    assert max(update(policy, seed).largest for seed in range(3)) < 1e-4
