"""The `[policy]` section: what is trained. The keys of each kind are in `settings.py` of its own room."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Tag

from node.config.sections.variant import type_or
from policies.diffusion.pipeline.settings import PipelineSettings
from policies.diffusion.settings import DiffusionSettings, DigitsSource
from policies.text.settings import EmbeddedSettings, ModelSettings, TextSettings


class EmbeddedPolicyConfig(TextSettings):
    """A tiny language model that murmur makes itself, for any CPU."""

    type: Literal["embedded"] = "embedded"
    """The tiny policy that murmur makes itself: nothing is downloaded."""
    warm_start: EmbeddedSettings = EmbeddedSettings()
    """How its weights are made before the first round."""


class TextPolicyConfig(TextSettings):
    """A pretrained language model, from the hub or from files."""

    type: Literal["text"] = "text"
    """A Hugging Face causal language model."""
    model: ModelSettings
    """Which one, and how it is loaded."""


DiffusionSource = Annotated[
    Annotated[DigitsSource, Tag("digits")] | Annotated[PipelineSettings, Tag("pipeline")],
    type_or("digits"),
]


class DiffusionPolicyConfig(DiffusionSettings):
    """A model that draws images."""

    type: Literal["diffusion"] = "diffusion"
    """A diffusion model, sampled along trees (BranchGRPO, arXiv 2509.06040)."""
    source: DiffusionSource = DigitsSource()
    """Which one: `type` digits (a small one, made here) or pipeline (of diffusers: SD3, FLUX and others)."""


PolicyConfig = Annotated[
    Annotated[EmbeddedPolicyConfig, Tag("embedded")]
    | Annotated[TextPolicyConfig, Tag("text")]
    | Annotated[DiffusionPolicyConfig, Tag("diffusion")],
    type_or("embedded"),
]
