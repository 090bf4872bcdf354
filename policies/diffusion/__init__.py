"""The diffusion policy: a denoising network, sampled along a tree and trained on what its leaves are worth."""
