"""Tiny pipelines of seven families with random weights, which read prompts without a text encoder."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch

from policies.diffusion.pipeline.settings import PipelineSettings


def embedding(prompt: str, *shape: int) -> torch.Tensor:
    """(1, *shape), drawn from the prompt's own seed."""
    draws = torch.Generator().manual_seed(zlib.crc32(prompt.encode()))
    return torch.randn(1, *shape, generator=draws)


def stacked(prompts: list[str] | str, *shape: int) -> torch.Tensor:
    listed = [prompts] if isinstance(prompts, str) else prompts
    return torch.cat([embedding(prompt, *shape) for prompt in listed])


def reading(pipeline: type, encode_prompt: Callable[..., Any]) -> type:
    """The pipeline's class with text of its own, in the network's type; all else is as it was."""

    def in_its_type(self: Any, *args: Any, **kwargs: Any) -> Any:
        dtype = (getattr(self, "transformer", None) or self.unet).dtype
        parts = encode_prompt(self, *args, **kwargs)
        return tuple(
            p.to(dtype) if isinstance(p, torch.Tensor) and p.is_floating_point() else p for p in parts
        )

    return type(pipeline.__name__, (pipeline,), {"encode_prompt": in_its_type, "__module__": "diffusers"})


def pair_of(length: int, width: int, mask: torch.dtype | None = None) -> Callable[..., Any]:
    """Embeddings and negative embeddings, each with an attention mask if the family has one."""

    def encode_prompt(self: Any, prompt: list[str], *_: Any, **__: Any) -> Any:
        positive, negative = stacked(prompt, length, width), stacked(["no"] * len(prompt), length, width)
        if mask is None:
            return positive, negative
        ones = torch.ones(len(prompt), length, dtype=mask)
        return positive, ones, negative, ones

    return encode_prompt


def image_vae(**more: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=1,
        latent_channels=4,
        **more,
    )


def sd3() -> Any:
    def encode_prompt(self: Any, prompt: list[str], *_: Any, **__: Any) -> Any:
        no = ["no"] * len(prompt)
        return stacked(prompt, 5, 32), stacked(no, 5, 32), stacked(prompt, 32), stacked(no, 32)

    network = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        pos_embed_max_size=8,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    vae = image_vae(scaling_factor=1.5, shift_factor=0.06)
    pipeline = reading(diffusers.StableDiffusion3Pipeline, encode_prompt)
    return pipeline(network, scheduler, vae, *[None] * 6)


def flux() -> Any:
    def encode_prompt(self: Any, prompt: list[str], *_: Any, **__: Any) -> Any:
        return stacked(prompt, 5, 32), stacked(prompt, 32), torch.zeros(5, 3)

    network = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    vae = image_vae(scaling_factor=0.36, shift_factor=0.12)
    pipeline = reading(diffusers.FluxPipeline, encode_prompt)
    return pipeline(scheduler, vae, None, None, None, None, network)


def sana(scheduler: Any = None) -> Any:
    network = diffusers.SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=8,
        sample_size=8,
    )
    blocks = ("ResBlock", "EfficientViTBlock")
    vae = diffusers.AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=[1, 1],
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41,
    )
    pipeline = reading(diffusers.SanaPipeline, pair_of(5, 8, torch.float32))
    scheduler = scheduler or diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return pipeline(None, None, vae, network, scheduler)


def qwen() -> Any:
    def encode_prompt(self: Any, prompt: list[str] | str, *_: Any, **__: Any) -> Any:
        listed = [prompt] if isinstance(prompt, str) else prompt
        return stacked(listed, 5, 16), torch.ones(len(listed), 5, dtype=torch.long)

    network = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=3,
        joint_attention_dim=16,
        guidance_embeds=False,
        axes_dims_rope=(8, 4, 4),
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=12,
        z_dim=4,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 2.0, 0.5, 1.0],
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipeline = reading(diffusers.QwenImagePipeline, encode_prompt)
    return pipeline(scheduler, vae, None, None, network)


def wan() -> Any:
    network = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    vae = diffusers.AutoencoderKLWan(
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return reading(diffusers.WanPipeline, pair_of(6, 32))(None, None, vae, scheduler, network)


def ltx() -> Any:
    network = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        patch_size=1,
        patch_size_t=1,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=32,
    )
    scaling = (True, True, False, False)
    vae = diffusers.AutoencoderKLLTXVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=scaling,
        decoder_spatio_temporal_scaling=scaling,
        patch_size=1,
        patch_size_t=1,
    )
    vae.latents_mean.normal_(generator=torch.Generator().manual_seed(1))
    vae.latents_std.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(2))
    pipeline = reading(diffusers.LTXPipeline, pair_of(6, 32, torch.bool))
    return pipeline(diffusers.FlowMatchEulerDiscreteScheduler(), vae, None, None, network)


def sd1(prediction: str = "epsilon", scheduler: type = diffusers.DDIMScheduler) -> Any:
    network = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=2,
    )
    made = scheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        steps_offset=1,
        **({"clip_sample": False} if scheduler is diffusers.DDIMScheduler else {}),
    )
    pipeline = reading(diffusers.StableDiffusionPipeline, pair_of(5, 16))
    return pipeline(image_vae(), None, None, network, made, None, None, requires_safety_checker=False)


@dataclass(frozen=True)
class Family:
    make: Callable[[], Any]
    guidance: float
    size: int  # height and width in pixels
    more: dict[str, Any] = field(default_factory=dict)  # what the pipeline's own call is given besides

    def pipeline(self, seed: int = 0) -> Any:
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return self.make()

    def settings(self, **changes: Any) -> PipelineSettings:
        given = {"path": "tiny", "dtype": "float32", "height": self.size, "width": self.size, "steps": 3}
        return PipelineSettings(**{**given, "guidance": self.guidance, "lora": None, **changes})


FAMILIES = {
    "sd3": Family(sd3, 4.5, 16, {"guidance_scale": 4.5}),
    "flux": Family(flux, 3.5, 16, {"guidance_scale": 3.5}),
    "sana": Family(sana, 4.0, 32, {"guidance_scale": 4.0, "use_resolution_binning": False}),
    "qwen": Family(qwen, 3.0, 32, {"true_cfg_scale": 3.0, "negative_prompt": ["", ""]}),
    "wan": Family(wan, 4.0, 32, {"guidance_scale": 4.0, "num_frames": 1}),
    "ltx": Family(ltx, 3.0, 32, {"guidance_scale": 3.0, "num_frames": 1}),
    "sd1": Family(sd1, 5.0, 16, {"guidance_scale": 5.0}),
}
