"""Weights in four bits and optimiser states in eight, by bitsandbytes, which is an extra."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from policies.install_hints import install_extras
from policies.policy import PolicyError

REPACKS = "support_avx512bf16_for_cpu"  # bitsandbytes' name, in layers of 0.50


def require_bitsandbytes(key: str) -> None:
    """Raises PolicyError, with what to install, where the package is missing. `key`: the setting that asks for it."""
    if find_spec("bitsandbytes") is None:
        raise PolicyError(f"{key} needs the bitsandbytes package: {install_extras('bitsandbytes')}")


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


def keep_gradients(model: torch.nn.Module) -> None:
    """Keeps four-bit layers from being packed anew for a CPU's bfloat16 units, for good.

    The library does so in a layer's first pass outside training mode, and no gradient passes through its product then:
    a warning is all that tells of it.
    """
    for layer in model.modules():
        if hasattr(layer, REPACKS):
            setattr(layer, REPACKS, False)
