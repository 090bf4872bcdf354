"""The diffusion policy: a denoising network, sampled along trees and trained on the rewards of their leaves."""
