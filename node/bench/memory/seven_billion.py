"""The plan of a 7B model in four bits on a card of 24 GB, from its configuration alone: no such card is needed."""

from __future__ import annotations

from transformers import Qwen2Config

from node.bench.kit.report import Row
from policies.text.memory.estimate import Load, estimate
from policies.text.memory.shape import shape_of
from policies.text.settings import (
    GenerationSettings,
    LoraSettings,
    ModelSettings,
    TextSettings,
    TrainerSettings,
)

CASE = "7B QLoRA, 24 GB"
CARD = 24_000_000_000
LOAD = Load(prompts=8, group=8, prompt_tokens=256, new_tokens=512)
PARTS = (
    "weights",
    "optimiser",
    "driver",
    "gradients",
    "activations",
    "update_logits",
    "keys_and_values",
    "sampling_logits",
)
FIELDS = {"driver": "overhead"}  # of the estimate, where it has another name


def planned_row() -> Row:
    """GB by part, of a model of Qwen2.5-7B's shape with an adapter of rank 16 and gradient checkpointing."""
    config = Qwen2Config(
        vocab_size=152_064,
        hidden_size=3584,
        intermediate_size=18_944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
    )
    model = ModelSettings(path="7B", dtype="bfloat16", four_bit=True, lora=LoraSettings())
    settings = TextSettings(
        generation=GenerationSettings(max_new_tokens=LOAD.new_tokens),
        trainer=TrainerSettings(gradient_checkpointing=True),
    ).settled(bfloat16=True)
    found = estimate(shape_of(config, model, autocast=True), model, settings, LOAD, CARD, cuda=True)
    sizes = {f"{part}_gb": getattr(found, FIELDS.get(part, part)) / 1e9 for part in PARTS}
    return {
        "case": CASE,
        **sizes,
        "slots": found.slots,
        "peak_gb": found.peak / 1e9,
        "fits": found.peak < CARD,
    }
