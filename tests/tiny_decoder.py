"""Random decoders of a few thousand weights, by any class of transformers."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Model = TypeVar("Model", bound=PreTrainedModel)


def tiny_decoder(
    model: type[Model],
    config: type[PreTrainedConfig],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    **settings: Any,
) -> Model:
    """Two layers of width 32; `settings` are those of the config beyond that."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        made = model(
            config(
                vocab_size=len(tokenizer),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=256,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                bos_token_id=None,
                **settings,
            )
        )
    made.generation_config = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    return made
