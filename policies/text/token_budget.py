"""The micro-batches that a card has room for: `trainer.token_budget = "auto"` on a GPU.

By the card and the model alone, and not by what happens to be free, so that a run which goes on splits its updates as
it did before. The estimate is coarse and rounded down to a power of two; where it is too high the update halves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from policies.text.engine.memory_plan import widest_of
from policies.text.settings import TextSettings

# Of what weights and optimiser leave, a half is for activations: sampling keeps tables, and the allocator has gaps.
SHARE = 0.5
# A smaller micro-batch leaves a GPU idle, and is left to halving; from the larger on nothing is gained.
LEAST, MOST = 1024, 65_536
# Numbers of optimiser state to one that trains, and bytes of each; adafactor keeps rows' and columns' sums alone.
OPTIMISER_BYTES = {"adamw": 8.0, "adamw_fused": 8.0, "adamw_8bit": 2.1, "adafactor": 0.1}
# Tensors as wide as a layer at its widest that live at once while a gradient passes back through it.
BACKWARD_TENSORS = 3
# What torch and a driver take of a GPU for themselves.
CUDA_OVERHEAD = 700_000_000
# What a token keeps in a layer where the pass cannot be run without numbers, in tensors as wide as the model.
GUESSED_TENSORS = 34


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What of a model decides how much room there is."""

    resident: int  # bytes of the weights, adapters included
    copied: int  # numbers of the working copy that sampling reads; none of quantised weights
    trained_bytes: int
    layers: int
    hidden: int
    widest: int

    @classmethod
    def of_model(cls, model: PreTrainedModel) -> ModelSize:
        """Of a loaded one, with the adapters in it."""
        weights = list(model.parameters())
        config = model.config.get_text_config()
        return cls(
            resident=sum(weight.nbytes for weight in weights),
            copied=0 if getattr(model, "is_quantized", False) else model.num_parameters(),
            trained_bytes=sum(weight.nbytes for weight in weights if weight.requires_grad),
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            widest=widest_of(config),
        )


def tokens_for(build: ModelSize, settings: TextSettings, card: int) -> int:
    """Tokens of a micro-batch on a card of `card` bytes. `settings` say already whether bfloat16 is on."""
    trainer = settings.trainer
    size = 2 if trainer.bf16 is True else 4
    optimiser = OPTIMISER_BYTES[trainer.optimizer] / 4 * build.trained_bytes
    stays = CUDA_OVERHEAD + build.resident + build.trained_bytes + optimiser
    copy = size * build.copied
    stays += copy if stays + copy < card else 0  # else sampling reads the trained weights
    layers = 1 if trainer.gradient_checkpointing else build.layers
    inputs = build.layers * build.hidden if trainer.gradient_checkpointing else 0
    kept = GUESSED_TENSORS * layers * build.hidden + inputs + BACKWARD_TENSORS * build.widest
    fitting = int(SHARE * max(0.0, card - stays) / (kept * size))
    return min(MOST, max(LEAST, 1 << max(0, fitting.bit_length() - 1)))


def card_bytes(device: torch.device) -> int | None:
    """Memory of the card, used or free; None where there is none."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory)


def by_card(settings: TextSettings, build: ModelSize, card: int | None) -> TextSettings:
    """`settings` with the budget of the card in place of `auto`; as they are without a card."""
    if card is None or settings.trainer.token_budget != "auto":
        return settings
    return settings.settled(token_budget=tokens_for(build, settings, card))
