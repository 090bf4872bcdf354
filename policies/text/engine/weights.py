"""The engine's working copy of the trained weights: adapters merged, in the arithmetic and layout fastest here.

It is a model of its own, so that sampling meets neither what the trainer wraps round the trained one nor its
training mode.
"""

from __future__ import annotations

import copy
import logging
from typing import Literal, TypeAlias

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel

from policies.hardware import free_memory
from policies.text.engine.adapters import effective_weight, frozen_weight, is_wrapped
from policies.text.engine.blank_model import blank_model
from policies.text.engine.packed import pack_layers, packed_layers

logger = logging.getLogger(__name__)

Arithmetic: TypeAlias = Literal["auto", "float32", "bfloat16"]

# Weights from which on products take most of a step, so that faster ones pay for their rounding.
LEAST_ROUNDED = 50_000_000
# Share of the device's free memory that a working copy may take.
COPY_SHARE = 0.5


def arithmetic_for(model: PreTrainedModel, wanted: Arithmetic) -> torch.dtype:
    """The type to compute in; see `chosen_arithmetic`."""
    return chosen_arithmetic(model.dtype, model.num_parameters(), wanted, cpu=model.device.type == "cpu")


def chosen_arithmetic(dtype: torch.dtype, parameters: int, wanted: Arithmetic, *, cpu: bool) -> torch.dtype:
    """The type in which to sample from `parameters` weights of type `dtype`. `auto`, on a CPU:

    With bfloat16 units, float32 weights are sampled in bfloat16 from LEAST_ROUNDED weights on: 1.4 to 1.85 times as
    fast. SmolLM2's log-probs then lie 0.03 nats from the trainer's in the mean, half a per cent of tokens outside the
    clip. What is recorded are the sampler's, so that the update's ratios correct it. Without them a bfloat16 product
    takes three times as long as a float32 one, so that bfloat16 weights are widened: the same policy, more exactly.
    Elsewhere it is the type of the weights.
    """
    if wanted != "auto":
        return torch.float32 if wanted == "float32" else torch.bfloat16
    if not cpu or dtype not in (torch.float32, torch.bfloat16):
        return dtype
    if not _cpu_multiplies_bfloat16():
        return torch.float32
    return torch.bfloat16 if parameters >= LEAST_ROUNDED else dtype


def fits_copy(model: PreTrainedModel, dtype: torch.dtype) -> bool:
    """Whether the library makes this model from its configuration, and the device has room for it in `dtype`."""
    if MODEL_FOR_CAUSAL_LM_MAPPING.get(type(model.config), None) is not type(model):
        return False
    needed = model.num_parameters() * dtype.itemsize
    device = model.device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    return bool(needed <= COPY_SHARE * free)


def working_copy(model: PreTrainedModel, dtype: torch.dtype, *, packed: bool = False) -> PreTrainedModel:
    """A plain model of the same configuration, its weights still to be set by `refresh`.

    `packed`: its linear layers are laid out for this CPU, where `can_pack` is true.
    """
    config = copy.deepcopy(model.config)
    fresh = blank_model(config, dtype, model.device)
    fresh.generation_config = copy.deepcopy(model.generation_config)
    fresh.to(model.device).eval().requires_grad_(False)
    _untie_head(fresh, model)
    if packed:
        pack_layers(fresh)
    _share_frozen(fresh, model)
    return fresh


def _share_frozen(working: PreTrainedModel, trained: PreTrainedModel) -> None:
    """Weights that never change lie in memory once: beside adapters that is the embedding, 113 MB of SmolLM2's."""
    for name, own in working.named_parameters():
        weight = frozen_weight(trained, name)
        if weight is not None and (weight.dtype, weight.shape) == (own.dtype, own.shape):
            own.data = weight.data


@torch.no_grad()
def refresh(working: PreTrainedModel, trained: PreTrainedModel) -> None:
    """Takes over the present weights of `trained`, each adapter added to the layer that it adapts.

    Raises UnmergeableError for an adapter whose effect cannot be written as weights.
    """
    for name, tensor in (*working.named_parameters(), *working.named_buffers()):
        weight = effective_weight(trained, name)
        if tensor.data_ptr() != weight.data_ptr():
            tensor.copy_(weight)
    for path, layer in packed_layers(working):
        layer.pack(effective_weight(trained, f"{path}.weight"))


def _untie_head(working: PreTrainedModel, trained: PreTrainedModel) -> None:
    """Gives the head weights of its own where an adapter tells it from the embedding that it shares."""
    head, embedding = working.get_output_embeddings(), working.get_input_embeddings()
    if head is None or getattr(head, "weight", None) is not getattr(embedding, "weight", None):
        return
    if is_wrapped(trained.get_output_embeddings()) or is_wrapped(trained.get_input_embeddings()):
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)


def _cpu_multiplies_bfloat16() -> bool:
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
