"""Tiny random models of every family of causal models that the installed transformers can make."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

# Of new weights at scale 1: far from uniform, so that a wrong log-prob shows, and not yet certain.
SPREAD = 0.15
LAYERS = 4  # families that mix kinds of layers attend in every second or every fourth
# By the names that configurations have for them. Widths are multiplied by a model's scale.
WIDTHS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "word_embed_proj_dim"), 48),
        **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner"), 96),
        **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
        **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
        **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "state_size", "mamba_d_state"), 8),
        **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
        **{"head_dim": 12, "v_head_dim": 12},
    }
)
COUNTS: Mapping[str, Any] = MappingProxyType(
    {
        **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers"), LAYERS),
        **dict.fromkeys(("num_attention_heads", "n_head", "attention_heads", "n_heads", "num_heads"), 4),
        **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
        **dict.fromkeys(("max_position_embeddings", "n_positions"), 256),
        **{"num_key_value_heads": 2, "linear_num_key_heads": 2, "linear_num_value_heads": 4},
        **{"sliding_window": 6, "window_size": 6, "num_experts_per_tok": 2},
        **{"n_group": 2, "topk_group": 1, "first_k_dense_replace": 1},
        **{"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2},
    }
)
# What a family needs beside them to be small, and to hold each of its kinds of layers.
OWN_WIDTHS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "deepseek_v32": {"index_head_dim": 16},
        "falcon_h1": {"mamba_d_ssm": 96},
        "gemma4_text": {"hidden_size_per_layer_input": 8, "global_head_dim": 16},
        "gemma4_unified_text": {"global_head_dim": 16},
        "qwen4_exp_text": {"indexer_head_dim": 16},
    }
)
OWN_COUNTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "bailing_hybrid": {"num_key_value_heads": 4, "layer_group_size": 2},
        "deepseek_v32": {"num_key_value_heads": 4, "index_topk": 6, "index_n_heads": 2},
        "falcon_h1": {"mamba_n_heads": 4, "mamba_chunk_size": 16},
        "gpt_neo": {"attention_types": [[["global", "local"], LAYERS // 2]]},
        "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
        "kimi_linear": {
            "num_key_value_heads": 4,
            "layer_types": ["linear_attention", "full_attention"] * (LAYERS // 2),
        },
        "lfm2": {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)},
        "qwen4_exp_text": {
            "indexer_n_heads": 2,
            "indexer_kv_heads": 1,
            "indexer_budget": 4,
            "indexer_compress_ratio": 2,
        },
        "qwen2_moe": {"use_sliding_window": True, "max_window_layers": 1},
    }
)
# The families that the benchmark measures, and what transformers calls their text models.
FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "Llama": "llama",
        "SmolLM3": "smollm3",
        "Qwen2": "qwen2",
        "Qwen3": "qwen3",
        "Qwen3-MoE": "qwen3_moe",
        "Mistral": "mistral",
        "Mixtral": "mixtral",
        "Gemma 2": "gemma2",
        "Gemma 3": "gemma3_text",
        "Gemma 4": "gemma4_text",
        "Phi-3": "phi3",
        "OLMo 2": "olmo2",
        "OLMo 3": "olmo3",
        "EXAONE 4": "exaone4",
        "GPT-2": "gpt2",
        "GPT-NeoX": "gpt_neox",
        "Falcon": "falcon",
        "GPT-OSS": "gpt_oss",
        "Qwen3.5": "qwen3_5_text",
        "Qwen3-Next": "qwen3_next",
        "LFM2": "lfm2",
        "Falcon-H1": "falcon_h1",
    }
)
# Those among them whose layers keep states of what they have read, in place of keys and values of every token.
RECURRENT = frozenset(("Qwen3.5", "Qwen3-Next", "LFM2", "Falcon-H1"))


def is_known(kind: str) -> bool:
    """Whether the installed transformers has causal models of the kind."""
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def make_model(kind: str, vocabulary: int, seed: int = 0, scale: int = 1) -> PreTrainedModel:
    """A random model of the kind that transformers calls `kind`, float32 on the CPU; equal for equal arguments."""
    config_class = CONFIG_MAPPING[kind]
    known = set(inspect.signature(config_class.__init__).parameters)
    words = dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), vocabulary)
    widths = {name: scale * width for name, width in WIDTHS.items()}
    spreads = dict.fromkeys(("initializer_range", "init_std"), SPREAD / math.sqrt(scale))
    sizes = {n: size for n, size in {**widths, **COUNTS, **spreads, **words}.items() if n in known}
    own = {name: scale * width for name, width in OWN_WIDTHS.get(kind, {}).items()}
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        config = config_class(**{**sizes, "vocab_size": vocabulary, **own, **OWN_COUNTS.get(kind, {})})
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model
