"""SD3 and Flux pipelines with tiny text encoders and tokenizers, whole enough to be saved and loaded."""

from __future__ import annotations

import string
from typing import Any

import diffusers
import tiny_pipelines
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)


def clip_tokenizer() -> CLIPTokenizer:
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    words = [*letters, "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({word: number for number, word in enumerate(words)}, [], model_max_length=16)


def clip_config(width: int, projection: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=54,
        hidden_size=width,
        intermediate_size=16,
        projection_dim=projection,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=52,
        eos_token_id=53,
        pad_token_id=53,
    )


def t5_tokenizer() -> T5TokenizerFast:
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *string.ascii_lowercase]
    return T5TokenizerFast([(piece, -1.0) for piece in pieces], extra_ids=0, model_max_length=16)


def t5() -> T5EncoderModel:
    config = T5Config(vocab_size=30, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return T5EncoderModel(config).eval()


def sd3() -> Any:
    bare = tiny_pipelines.sd3()
    return diffusers.StableDiffusion3Pipeline(
        bare.transformer,
        bare.scheduler,
        bare.vae,
        CLIPTextModelWithProjection(clip_config(16, 16)).eval(),
        clip_tokenizer(),
        CLIPTextModelWithProjection(clip_config(16, 16)).eval(),
        clip_tokenizer(),
        t5(),
        t5_tokenizer(),
    )


def flux() -> Any:
    bare = tiny_pipelines.flux()
    return diffusers.FluxPipeline(
        bare.scheduler,
        bare.vae,
        CLIPTextModel(clip_config(32, 32)).eval(),
        clip_tokenizer(),
        t5(),
        t5_tokenizer(),
        bare.transformer,
    )
