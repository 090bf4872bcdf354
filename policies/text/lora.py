"""peft's configuration of an adapter, made from our settings."""

from __future__ import annotations

from peft import LoraConfig

from policies.text.settings import LoraSettings


def lora_config(settings: LoraSettings) -> LoraConfig:
    """`target_modules` that is one text, and not `all-linear`, is a regex over whole names, as peft takes it."""
    targets = settings.target_modules
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=list(settings.modules_to_save) or None,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        task_type="CAUSAL_LM",
    )
