"""A trainer of a tiny model, and the rows that it is tried on."""

from __future__ import annotations

import torch
from tiny_text import mixed_batch, tiny_tokenizer

from policies.text.batching import rows_of
from policies.text.chat.settings import PromptSettings
from policies.text.encoding import Encoding
from policies.text.settings import TrainerSettings
from policies.text.trainer import GroupTrainer

ENCODING = Encoding(tiny_tokenizer(), PromptSettings(), 64)
ROWS = rows_of(mixed_batch(), ENCODING.problem_prompt)
# Weights the loss must not see: no clipping of the norm, no weight decay.
PLAIN = TrainerSettings(max_grad_norm=1e9)
CISPO = TrainerSettings(loss="cispo", epsilon_high=2.0, max_grad_norm=1e9)


def trainer_of(
    model: torch.nn.Module, settings: TrainerSettings = PLAIN, temperature: float = 1.0
) -> GroupTrainer:
    return GroupTrainer(model, tiny_tokenizer(), settings, temperature, seed=0)
