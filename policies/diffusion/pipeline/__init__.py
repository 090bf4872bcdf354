"""Any pipeline of diffusers as a diffusion policy's denoiser: loading, adapter, prompts, memory."""

from __future__ import annotations

from policies.diffusion.pipeline.adapter import PipelineDenoiser
from policies.diffusion.pipeline.loading import load_denoiser, load_pipeline
from policies.diffusion.pipeline.settings import NetworkLoraSettings, PipelineSettings

__all__ = ["NetworkLoraSettings", "PipelineDenoiser", "PipelineSettings", "load_denoiser", "load_pipeline"]
