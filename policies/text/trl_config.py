"""TRL's configuration object, made from our trainer settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from trl import GRPOConfig

from policies.text.settings import TrainerSettings

# TRL's own loop, logs and checkpoints are not used; batches are ours.
LOOP_UNUSED: Mapping[str, Any] = {
    "per_device_train_batch_size": 2,  # smallest that TRL accepts
    "num_generations": 2,
    "gradient_accumulation_steps": 1,
    "save_strategy": "no",
    "logging_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
}
# Our names, and those that transformers has for them.
OPTIMISERS = {
    "adamw": "adamw_torch",
    "adamw_fused": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "adafactor": "adafactor",
}


def trl_config(
    settings: TrainerSettings, temperature: float, device: torch.device, folder: str
) -> GRPOConfig:
    """All that TRL would choose for itself is set: bf16 and gradient checkpointing are on by its defaults."""
    warmup = settings.scheduler == "constant" and settings.warmup_steps > 0
    return GRPOConfig(
        output_dir=folder,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if warmup else settings.scheduler,
        warmup_steps=settings.warmup_steps,
        optim=OPTIMISERS[settings.optimizer],
        adam_beta1=settings.adam_beta1,
        adam_beta2=settings.adam_beta2,
        weight_decay=settings.weight_decay,
        loss_type=settings.loss,
        epsilon=settings.epsilon_low,
        epsilon_high=settings.epsilon_high,
        temperature=temperature,
        beta=0.0,  # TRL would load a reference model; `GroupTrainer` sets ours, whose reference is the model itself
        bf16=settings.bf16 is True,
        activation_checkpointing=settings.gradient_checkpointing,
        use_cpu=device.type == "cpu",
        use_cache=True,  # only a mark in the model's saved configuration
        **LOOP_UNUSED,
    )
