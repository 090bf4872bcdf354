"""Random models of a few thousand weights, one for each kind of attention that the engine must get right."""

from __future__ import annotations

from copy import deepcopy

import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    DogeConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    PhimoeConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    RwkvConfig,
)

from policies.text.engine import Request

VOCABULARY = 300
ENDLESS = {"pad_token_id": 0, "eos_token_id": None, "bos_token_id": None}
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    **ENDLESS,
}
WINDOW = {"head_dim": 12, "sliding_window": 6}
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SHAPE),
    # As SmolLM2-135M: nine query heads for three of keys and values, embedding and head shared.
    "smollm2": LlamaConfig(
        **{**SHAPE, "hidden_size": 72, "num_attention_heads": 9, "num_key_value_heads": 3},
        tie_word_embeddings=True,
    ),
    "mistral": MistralConfig(**SHAPE, **WINDOW),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=12),
    "gemma2": Gemma2Config(**SHAPE, **WINDOW),
    "gemma3": Gemma3TextConfig(
        **SHAPE,
        **WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_embd=48, n_layer=2, n_head=4, n_positions=256, **ENDLESS),
    "mamba": MambaConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        num_hidden_layers=2,
        state_size=8,
        initializer_range=0.5,
        **ENDLESS,
    ),
}
EXPERTS = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
}
# Windows that reach attention as a mask alone, sinks, experts, and a model whose padding changes what it computes.
OTHERS: dict[str, PretrainedConfig] = {
    "qwen3_moe": Qwen3MoeConfig(**SHAPE, **EXPERTS, head_dim=12, num_experts=4),
    "mixtral": MixtralConfig(**SHAPE, num_local_experts=4),
    "deepseek_v3": DeepseekV3Config(
        **{**SHAPE, "num_key_value_heads": 4},
        **EXPERTS,
        **LATENT,
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        first_k_dense_replace=1,
    ),
    "gpt_oss": GptOssConfig(**SHAPE, **WINDOW, num_local_experts=4, num_experts_per_tok=2),
    "phimoe": PhimoeConfig(**SHAPE, sliding_window=6, num_local_experts=4),
    "doge": DogeConfig(**SHAPE, sliding_window=6),
    "qwen2_moe": Qwen2MoeConfig(
        **SHAPE,
        **EXPERTS,
        shared_expert_intermediate_size=32,
        num_experts=4,
        use_sliding_window=True,
        sliding_window=6,
        max_window_layers=1,
    ),
    "rwkv": RwkvConfig(vocab_size=VOCABULARY, hidden_size=48, num_hidden_layers=2, **ENDLESS),
}
SHARED = [name for name in CONFIGS if name != "mamba"]


def made(name: str, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: object) -> PreTrainedModel:
    """A random model; `changes` are of its configuration."""
    config = deepcopy(CONFIGS[name] if name in CONFIGS else OTHERS[name])
    for attribute, value in changes.items():
        setattr(config, attribute, value)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval()


def prompts(*lengths: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Random prompts of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.randint(1, VOCABULARY, (n,), generator=generator).tolist()) for n in lengths]


def asked(lengths: tuple[int, ...] = (9, 14, 9, 20), copies: int = 3, most: int = 12) -> list[Request]:
    """`copies` requests of each prompt, whose length caps grow from `most` by one from request to request."""
    chosen = [prompt for prompt in prompts(*lengths) for _ in range(copies)]
    return [Request(prompt, key=1000 + i, max_new_tokens=most + i) for i, prompt in enumerate(chosen)]


@torch.no_grad()
def teacher_forced(
    model: PreTrainedModel, request: Request, token_ids: tuple[int, ...], temperature: float = 1.0
) -> torch.Tensor:
    """Log-probs of `token_ids` after the request's prompt, by one plain forward pass: (tokens,)."""
    ids = torch.tensor([[*request.prompt_ids, *token_ids]])
    logits = model(input_ids=ids).logits[0, len(request.prompt_ids) - 1 : -1].float()
    return torch.log_softmax(logits / temperature, -1).gather(1, torch.tensor(token_ids)[:, None])[:, 0]
