"""The memory estimate against what modules of the published shapes really hold and keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch

from policies.diffusion.pipeline.lora import adapter_parameters, attach_lora
from policies.diffusion.pipeline.memory_estimate import (
    GB,
    PUBLISHED,
    Blocks,
    Footprint,
    estimate,
    memory_estimate,
)
from policies.diffusion.pipeline.settings import NetworkLoraSettings, PipelineSettings
from policies.policy import PolicyError

SD3 = "stabilityai/stable-diffusion-3.5-medium"
FLUX = "black-forest-labs/FLUX.1-dev"
EVERYWHERE = NetworkLoraSettings(rank=4, target_modules="all-linear")


def sd3_network(layers: int, heads: int, dual: int, **more: Any) -> Any:
    return diffusers.SD3Transformer2DModel(
        **{"sample_size": 16, "joint_attention_dim": 64, "pooled_projection_dim": 64, "pos_embed_max_size": 8}
        | more,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=layers,
        attention_head_dim=64,
        num_attention_heads=heads,
        caption_projection_dim=64 * heads,
        dual_attention_layers=tuple(range(dual)),
        qk_norm="rms_norm",
    )


def on_meta(path: str) -> Any:
    with torch.device("meta"):
        if path == FLUX:
            return diffusers.FluxTransformer2DModel(guidance_embeds=True)
        published = {"sample_size": 128, "joint_attention_dim": 4096, "pooled_projection_dim": 2048}
        return sd3_network(24, 24, 13, pos_embed_max_size=384, **published)


@pytest.mark.parametrize("path", PUBLISHED)
def test_published_shapes_are_those_of_the_real_networks(path: str) -> None:
    network, footprint = on_meta(path), PUBLISHED[path]
    held = sum(part.numel() for part in (*network.parameters(), *network.buffers()))
    assert held == footprint.network
    linear = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    assert sum(layer.in_features + layer.out_features for layer in linear) == footprint.linear_ends
    attach_lora(network, NetworkLoraSettings(rank=1), seed=0)
    adapted = adapter_parameters(network)
    assert sum(parameter.numel() for parameter in adapted) == footprint.attention_ends


def kept_bytes(network: Any, lora: NetworkLoraSettings, inputs: dict[str, Any], checkpointing: bool) -> int:
    """What a forward pass keeps for the backward pass beside the weights, in bytes; a storage counts once."""
    attach_lora(network, lora, seed=0)
    if checkpointing:
        network.enable_gradient_checkpointing()
    weights = {part.untyped_storage().data_ptr() for part in (*network.parameters(), *network.buffers())}
    seen: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage  # held, so that its address is not given out again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(**inputs)
    return sum(storage.nbytes() for storage in seen.values())


def sd3_inputs(dtype: torch.dtype) -> dict[str, Any]:
    return {
        "hidden_states": torch.randn(1, 16, 16, 16, dtype=dtype),  # 64 tokens
        "encoder_hidden_states": torch.randn(1, 21, 64, dtype=dtype),
        "pooled_projections": torch.randn(1, 64, dtype=dtype),
        "timestep": torch.tensor([500.0]),
    }


def flux_inputs(dtype: torch.dtype) -> dict[str, Any]:
    return {
        "hidden_states": torch.randn(1, 64, 64, dtype=dtype),
        "encoder_hidden_states": torch.randn(1, 21, 64, dtype=dtype),
        "pooled_projections": torch.randn(1, 64, dtype=dtype),
        "timestep": torch.tensor([0.5]),
        "guidance": torch.tensor([3.0]),
        "txt_ids": torch.zeros(21, 3),
        "img_ids": torch.zeros(64, 3),
    }


def small(path: str, counts: tuple[int, ...], width: int) -> Footprint:
    published = PUBLISHED[path]
    blocks = tuple(
        Blocks(kind.kept, count, kind.image_only)
        for kind, count in zip(published.blocks, counts, strict=True)
    )
    return replace(published, blocks=blocks, width=width, text_tokens=21, two_passes=False)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("lora", [NetworkLoraSettings(rank=4), EVERYWHERE], ids=["attention", "all"])
@pytest.mark.parametrize("path", PUBLISHED)
def test_activations_are_what_a_pass_keeps(path: str, lora: NetworkLoraSettings, dtype: str) -> None:
    """What four blocks keep beyond what two keep: that leaves out the layers before and after the blocks."""
    kind = getattr(torch, dtype)
    counted, estimated = [], []
    for blocks in (2, 4):
        if path == SD3:
            network, inputs, footprint = (
                sd3_network(blocks, 4, 1),
                sd3_inputs(kind),
                small(path, (blocks, 1), 256),
            )
        else:
            network = diffusers.FluxTransformer2DModel(
                in_channels=64,
                num_layers=blocks // 2,
                num_single_layers=blocks // 2,
                num_attention_heads=2,
                joint_attention_dim=64,
                pooled_projection_dim=64,
                guidance_embeds=True,
            )
            inputs, footprint = flux_inputs(kind), small(path, (blocks // 2, blocks // 2), 256)
        settings = PipelineSettings(
            path=path, dtype=dtype, height=128, width=128, lora=lora, gradient_checkpointing=False
        )
        network.to(kind)
        counted.append(kept_bytes(network, lora, inputs, checkpointing=False))
        estimated.append(estimate(footprint, settings).activations)
    assert estimated[1] - estimated[0] == pytest.approx(counted[1] - counted[0], rel=0.06)


def test_checkpointing_keeps_the_inputs_of_blocks() -> None:
    counted = []
    for blocks in (2, 4):
        network = sd3_network(blocks, 2, 0).to(torch.bfloat16)
        inputs = sd3_inputs(torch.bfloat16)
        counted.append(kept_bytes(network, NetworkLoraSettings(rank=4), inputs, checkpointing=True))
    settings = PipelineSettings(path=SD3, height=128, width=128)
    fewer, more = (estimate(small(SD3, (n, 0), 128), settings).activations for n in (2, 4))
    assert more - fewer == counted[1] - counted[0]


def test_estimates_of_the_presets_are_plausible() -> None:
    medium = memory_estimate(PipelineSettings(path=SD3))
    flux = memory_estimate(PipelineSettings(path=FLUX))
    assert 16 < medium.device / GB < 19  # reading prompts by T5-XXL is what it takes most for
    assert 35 < flux.device / GB < 38
    assert flux.network / 2**30 == pytest.approx(22.17, abs=0.01)
    text = str(flux)
    assert "network 23.8" in text and "while prompts are read 9.8" in text


def test_what_lowers_the_memory_and_what_raises_it() -> None:
    base = PipelineSettings(path=SD3, text_encoders="keep")

    def device(micro_batch: int = 1, **changes: Any) -> int:
        return memory_estimate(base.model_copy(update=changes), micro_batch).device

    assert device(gradient_checkpointing=False) > device()
    assert device(text_encoders="offload") < device()
    assert device(dtype="float32") > 1.8 * device()
    assert device(lora=None) > device() + 3 * 2 * PUBLISHED[SD3].network * 0.9
    assert device(8, gradient_checkpointing=False) > device(4, gradient_checkpointing=False)
    both = memory_estimate(base).activations
    assert memory_estimate(base.model_copy(update={"guidance": 1.0})).activations == both // 2


def test_other_pipelines_are_not_guessed() -> None:
    with pytest.raises(PolicyError, match=r"org/name wants is not known.*stable-diffusion-3.5-medium"):
        memory_estimate(PipelineSettings(path="org/name"))
