"""Random models of a few thousand weights, one for each kind of attention that the engine must get right."""

from __future__ import annotations

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
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
SHARED = [name for name in CONFIGS if name != "mamba"]


def made(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(CONFIGS[name], dtype=dtype)
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
