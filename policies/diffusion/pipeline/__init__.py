"""Any pipeline of diffusers as a diffusion policy's denoiser: settings, loading, adapter, prompts, memory."""
