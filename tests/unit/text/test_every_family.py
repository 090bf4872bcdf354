"""Every family of causal models that the library makes small: exact after ten updates, or refused in words."""

from __future__ import annotations

import inspect

import pytest
import torch
from test_agreement import policy_of, update
from tiny_text import tiny_tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

from policies.policy import PolicyError
from policies.text.model import attach_lora
from policies.text.settings import LoraSettings

NAMES = (
    "afmoe apertus arcee aria_text bailing_hybrid biogpt bitnet bloom cohere cohere2 cohere2_moe",
    "diffllama doge ernie4_5 ernie4_5_moe exaone4 exaone_moe falcon falcon_mamba flex_olmo flint gemma",
    "gemma2 gemma3_text gemma4_unified_text glm glm4 glm4_moe gpt-sw3 gpt2 gpt_bigcode gpt_neox",
    "gpt_neox_japanese gpt_oss granite granite_swa granitemoe granitemoe_swa granitemoeshared helium",
    "hrm_text hunyuan_v1_dense hunyuan_v1_moe hy_v3 hy_v4 hyperclovax internlm3 iquestcoder jais2 jamba",
    "jetmoe kimi_linear kolibri1 laguna lfm2 lfm3 llama llama4_text mamba mellum mimo_v2_flash minimax",
    "minimax_m2 minimax_m3_vl_text ministral ministral3 mistral mixtral mpt nanochat nemotron olmo olmo2",
    "olmo3 olmo_hybrid olmoe opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_5_moe_text",
    "qwen3_5_text qwen3_moe qwen3_next qwen4_exp_text recurrent_gemma rwkv seed_oss smollm3 solar_open",
    "starcoder2 vaultgemma xglm xlstm",
)
FAMILIES = [name for line in NAMES for name in line.split()]
# By the names that configurations have for them.
SIZES = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim"), 48),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner"), 96),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers"), 3),
    **dict.fromkeys(("num_attention_heads", "n_head", "attention_heads", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 256),
    **dict.fromkeys(("initializer_range", "init_std"), 0.15),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "state_size", "mamba_d_state"), 8),
    **{
        "num_key_value_heads": 2,
        "head_dim": 12,
        "v_head_dim": 12,
        "sliding_window": 6,
        "num_experts_per_tok": 2,
    },
    **{"n_group": 2, "topk_group": 1, "word_embed_proj_dim": 48, "first_k_dense_replace": 1},
    **{"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2},
}


def made(family: str) -> PreTrainedModel:
    kind = CONFIG_MAPPING[family]
    known = set(inspect.signature(kind.__init__).parameters)
    sizes = {name: size for name, size in SIZES.items() if name in known}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        config = kind(**sizes, vocab_size=len(tiny_tokenizer()))
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [False, True], ids=["full", "adapter"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_exact_after_ten_updates_or_refused(family: str, adapter: bool) -> None:
    model: torch.nn.Module = made(family)
    try:
        if adapter:
            model = attach_lora(model, LoraSettings(rank=4), seed=0)
        policy = policy_of(model)
    except PolicyError as refusal:
        pytest.skip(f"refused: {refusal}")
    agreements = [update(policy, seed) for seed in range(11)]
    assert max(agreement.largest for agreement in agreements) < 1e-4
    assert not any(agreement.clipped_share for agreement in agreements)
