"""Weights in four bits and optimiser states in eight, by bitsandbytes, which is an extra."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from policies.policy import PolicyError


def require_bitsandbytes(key: str) -> None:
    """Raises PolicyError, with what to install, where the package is missing. `key`: the setting that asks for it."""
    if find_spec("bitsandbytes") is None:
        raise PolicyError(f"{key} needs the bitsandbytes package: pip install bitsandbytes")


def four_bit_config(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` takes for QLoRA: NF4 in blocks of 64, their scales packed too, products in `dtype`."""
    require_bitsandbytes("model.four_bit")
    packing = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": packing, "device_map": {"": device}}
