"""Settings of a diffusion policy on a pipeline of diffusers: which one, its sampling, adapter and memory.

Plain values that validate themselves, so that a config file can hold them as they are.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from policies.settings import Settings, absolute_if_local

# The projections of attention, by the names that diffusers gives them in every transformer and U-Net:
# those of the image, and those of the text where it has its own.
ATTENTION = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "add_q_proj",
    "add_k_proj",
    "add_v_proj",
    "to_add_out",
)

# Arguments of a pipeline's call that the adapter itself fills in.
OWN_ARGUMENTS = frozenset(
    {
        "prompt",
        "negative_prompt",
        "height",
        "width",
        "num_inference_steps",
        "guidance_scale",
        "true_cfg_scale",
        "latents",
        "generator",
        "output_type",
        "return_dict",
        "sigmas",
        "timesteps",
        "num_images_per_prompt",
        "num_videos_per_prompt",
    }
)


class NetworkLoraSettings(Settings):
    """A low-rank adapter on the denoising network (arXiv 2106.09685); with it off, the network is the reference."""

    rank: PositiveInt = 32
    """Rank of the update."""
    alpha: PositiveFloat = 64.0
    """Scale of the update, applied as alpha / rank."""
    target_modules: tuple[str, ...] | Literal["all-linear"] = ATTENTION
    """Layers that get an adapter, by the end of their name; names that the network lacks are passed over."""


class PipelineSettings(Settings):
    """A pipeline of diffusers as a diffusion policy: safetensors only; pickles and repository code are refused."""

    type: Literal["pipeline"] = "pipeline"
    """A pretrained network, from a pipeline of diffusers."""
    path: str = Field(min_length=1)
    """Hub id or local folder of a pipeline that `save_pretrained` wrote."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Type of the frozen weights and of what passes through them; latents and adapters are always float32."""
    height: PositiveInt = 512
    """Height of the images, in pixels."""
    width: PositiveInt = 512
    """Width of the images, in pixels."""
    steps: PositiveInt = 20
    """Denoising steps of a sample, on the pipeline's own schedule."""
    guidance: float | None = Field(default=None, ge=0.0)
    """Guidance scale, the same in sampling and in training. None: the pipeline's default; 1: without, where it
    takes a second pass of the network."""
    negative_prompt: str = ""
    """What guidance leads away from, where it takes a second pass."""
    call: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """More arguments for the pipeline's call, such as `max_sequence_length`."""
    lora: NetworkLoraSettings | None = NetworkLoraSettings()
    """The adapter that is trained. None trains all weights, and there is no reference policy then."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: about a third more time for a small part of the memory."""
    text_encoders: Literal["keep", "offload", "drop"] = "offload"
    """Where text encoders wait. `offload`: in CPU memory while no new prompt is read; `keep`: on the device;
    `drop`: freed once the prompts known at the start have been read, and other prompts are refused."""
    cached_prompts: PositiveInt = 512
    """Most prompts whose embeddings are kept in CPU memory: 3 to 5 MB each with a T5-XXL encoder."""
    decode_batch: PositiveInt = 4
    """Most images that are decoded or encoded at once."""

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        """A run that is resumed from another folder finds the same files, and no repository of that name."""
        return absolute_if_local(path)

    @field_validator("call")
    @classmethod
    def _not_the_adapters_own(
        cls, call: dict[str, str | int | float | bool]
    ) -> dict[str, str | int | float | bool]:
        for name in call:
            if name in OWN_ARGUMENTS:
                raise ValueError(f"{name} is set by its own key or by the adapter, not through call")
        return call
