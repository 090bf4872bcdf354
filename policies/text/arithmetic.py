"""The arithmetic that a device is good at, where the settings leave it to the device."""

from __future__ import annotations

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether `bf16 = "auto"` is bfloat16: on a GPU that multiplies it. A CPU keeps float32, where tests of it are."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def prepare_device(device: torch.device) -> None:
    """Makes `device` the current one. On a GPU what is left in float32 beside bfloat16 may round as TF32 does."""
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)
    torch.set_float32_matmul_precision("high" if has_bfloat16(device) else "highest")
