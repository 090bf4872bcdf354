"""Model folders of ordinary shapes with random weights: they cost what real ones do, and nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from policies.local_cache import store_folder
from policies.text.tokenizer import build_tokenizer


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama with its head tied to its embedding."""

    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    vocabulary: int


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "tiny": Shape(layers=2, hidden=64, mlp=128, heads=4, kv_heads=2, vocabulary=512),
        "0.1B": Shape(layers=30, hidden=576, mlp=1536, heads=9, kv_heads=3, vocabulary=49_152),
        "0.5B": Shape(layers=24, hidden=896, mlp=4864, heads=14, kv_heads=2, vocabulary=151_936),
        "1.5B": Shape(layers=28, hidden=1536, mlp=8960, heads=12, kv_heads=2, vocabulary=151_936),
    }
)
SPREAD = 0.02


def model_folder(name: str, root: Path, device: torch.device) -> Path:
    """The folder of the shape's model under `root`, bfloat16; made on `device` where it is not there yet."""
    folder = root / f"model-{name}"
    if not folder.is_dir():
        store_folder(folder, lambda draft: _write(SHAPES[name], draft, device))
    return folder


def _write(shape: Shape, folder: Path, device: torch.device) -> None:
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        initializer_range=SPREAD,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype=torch.bfloat16,
    )
    torch.manual_seed(0)
    with device:
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
