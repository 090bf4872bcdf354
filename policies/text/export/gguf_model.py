"""Architecture and weights of a GGUF file: what llama.cpp calls them, and in which layout it reads them.

Only families whose GGUF form says all that their configuration says. Another setting than llama.cpp's own is refused:
it would be read as a model that computes something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel

from policies.policy import PolicyError

Weight = Callable[[str, torch.Tensor, PretrainedConfig], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Family:
    """One model type of transformers, as llama.cpp has it."""

    arch: gguf.MODEL_ARCH
    fixed: Mapping[str, object]  # settings that a file cannot hold, and the values that its readers take
    change: Weight = lambda name, weight, config: weight


def _interleaved(name: str, weight: torch.Tensor, config: PretrainedConfig) -> torch.Tensor:
    """Of queries and keys the two halves that a rotation pairs lie side by side."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return weight
    heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


def _plain_norms(name: str, weight: torch.Tensor, config: PretrainedConfig) -> torch.Tensor:
    """Gemma's norms multiply by 1 + weight, and a file's by the weight."""
    return weight + 1 if name.endswith("norm.weight") else weight


_SILU = {"hidden_act": "silu"}
FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        gguf.MODEL_ARCH.LLAMA, {**_SILU, "attention_bias": False, "mlp_bias": False}, _interleaved
    ),
    "qwen2": Family(gguf.MODEL_ARCH.QWEN2, {**_SILU, "use_sliding_window": False}),
    # transformers reads no size of a head of this one, and takes the family's own.
    "qwen3": Family(
        gguf.MODEL_ARCH.QWEN3,
        {**_SILU, "use_sliding_window": False, "attention_bias": False, "head_dim": 128},
    ),
    "gemma3_text": Family(
        gguf.MODEL_ARCH.GEMMA3,
        {
            "hidden_activation": "gelu_pytorch_tanh",
            "attention_bias": False,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "use_bidirectional_attention": False,
        },
        _plain_norms,
    ),
}
LOCAL_THETA = 10_000.0  # of Gemma 3's layers with a window
GLOBAL_EVERY = 6  # of its layers, one sees everything


def family_of(config: PretrainedConfig) -> Family:
    """Raises PolicyError, with the reason, for a model whose file would be read as another one."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise PolicyError(
            f"--gguf knows {', '.join(FAMILIES)}, and this model is a {config.model_type}: export it without --gguf, "
            "and try convert_hf_to_gguf.py of llama.cpp on the folder"
        )
    wrong = [
        f"{name} = {getattr(config, name)!r}"
        for name, value in family.fixed.items()
        if getattr(config, name, value) != value
    ]
    wrong += _of_positions(config) + _of_windows(config)
    if wrong:
        raise PolicyError(
            f"a GGUF file of a {config.model_type} cannot say that {', '.join(wrong)}: leave out --gguf, and try "
            "convert_hf_to_gguf.py of llama.cpp on the folder"
        )
    return family


def _rotations(config: PretrainedConfig) -> dict[str, dict[str, Any]]:
    """By kind of layer; of most families there is one kind."""
    found = config.rope_parameters
    return found if "full_attention" in found else {"full_attention": found}


def _of_positions(config: PretrainedConfig) -> list[str]:
    rotations = _rotations(config)
    kinds = {rotation.get("rope_type", "default") for rotation in rotations.values()} - {"default"}
    partial = {rotation.get("partial_rotary_factor", 1.0) for rotation in rotations.values()} - {1.0}
    local = rotations.get("sliding_attention", {}).get("rope_theta", LOCAL_THETA)
    found = [f"rope_type = {kind!r}" for kind in kinds]
    found += [f"partial_rotary_factor = {share}" for share in partial]
    return found + ([f"rope_theta = {local} of layers with a window"] if local != LOCAL_THETA else [])


def _of_windows(config: PretrainedConfig) -> list[str]:
    if config.model_type != "gemma3_text":
        return []
    wanted = [
        "sliding_attention" if (layer + 1) % GLOBAL_EVERY else "full_attention"
        for layer in range(config.num_hidden_layers)
    ]
    found = [] if config.layer_types == wanted else [f"layer_types = {config.layer_types}"]
    # The readers scale by the size of a head, transformers' by its own default.
    scale = config.query_pre_attn_scalar
    return found + ([] if scale == config.head_dim == 256 else [f"query_pre_attn_scalar = {scale}"])


def add_shape(writer: gguf.GGUFWriter, config: PretrainedConfig) -> None:
    """Every count that the readers build the model by."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(_rotations(config)["full_attention"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if config.model_type == "gemma3_text":
        writer.add_sliding_window(config.sliding_window)


def tensors_of(model: PreTrainedModel) -> Iterator[tuple[str, np.ndarray, gguf.GGMLQuantizationType]]:
    """Name, numbers and type of every tensor: matrices in the model's own type, vectors in float32."""
    config = model.config
    family = family_of(config)
    names = gguf.get_tensor_name_map(family.arch, config.num_hidden_layers)
    kind = gguf.GGMLQuantizationType.BF16 if model.dtype == torch.bfloat16 else gguf.GGMLQuantizationType.F32
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, _, leaf = name.rpartition(".")
        known = names.get_name(stem)
        if known is None:
            raise PolicyError(f"llama.cpp has no name for {name} of a {config.model_type}: leave out --gguf")
        plain = family.change(name, weight.float(), config).contiguous().numpy()
        chosen = kind if plain.ndim > 1 else gguf.GGMLQuantizationType.F32
        yield f"{known}.{leaf}", gguf.quantize(plain, chosen), chosen
