"""The adapter: nothing at first, gone when it is off, and the same gradients with activations recomputed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_pipelines import FAMILIES

from policies.diffusion.pipeline.adapter import PipelineDenoiser
from policies.diffusion.pipeline.lora import adapter_parameters
from policies.diffusion.pipeline.settings import NetworkLoraSettings
from policies.policy import PolicyError

CPU = torch.device("cpu")
PROMPTS = ["a red fox", "two hens"]
LORA = NetworkLoraSettings(rank=4, alpha=8.0)


def denoiser_of(name: str, seed: int = 0, **changes: Any) -> PipelineDenoiser:
    settings = FAMILIES[name].settings(**{"lora": LORA, "gradient_checkpointing": False, **changes})
    pipe = FAMILIES[name].pipeline()
    pipe.to(getattr(torch, settings.dtype))
    return PipelineDenoiser(pipe, settings, CPU, seed)


def clean(denoiser: PipelineDenoiser) -> torch.Tensor:
    latents = torch.randn(2, *denoiser.latent_shape, generator=torch.Generator().manual_seed(5))
    return denoiser.predict(latents, 1, PROMPTS).clean


def move(denoiser: PipelineDenoiser) -> None:
    """Makes the adapter do something."""
    draws = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in adapter_parameters(denoiser.module):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draws))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["sd3", "flux", "sd1"])
def test_fresh_is_identity_and_off_is_the_reference(name: str, dtype: str) -> None:
    with torch.no_grad():
        bare = clean(denoiser_of(name, lora=None, dtype=dtype))
        denoiser = denoiser_of(name, dtype=dtype)
        assert torch.equal(clean(denoiser), bare)
        move(denoiser)
        changed = clean(denoiser)
        assert not torch.equal(changed, bare)
        with denoiser.reference():
            assert torch.equal(clean(denoiser), bare)
        assert torch.equal(clean(denoiser), changed)


def test_only_the_adapter_trains_in_float32_and_from_its_seed() -> None:
    first, again, other = (denoiser_of("sd3", seed, dtype="bfloat16") for seed in (1, 1, 2))
    trained = [p for p in first.module.parameters() if p.requires_grad]
    assert len(trained) == len(adapter_parameters(first.module)) > 0
    assert {p.dtype for p in trained} == {torch.float32}
    assert {p.dtype for p in first.module.parameters() if not p.requires_grad} == {torch.bfloat16}
    pairs = [list(map(torch.equal, trained, adapter_parameters(d.module))) for d in (again, other)]
    assert all(pairs[0]) and not all(pairs[1])
    assert not any(layer.training for layer in first.module.modules())


@pytest.mark.parametrize("name", ["sd3", "flux", "wan", "sd1"])
def test_recomputed_activations_give_the_same_gradients(name: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        denoiser = denoiser_of(name, gradient_checkpointing=checkpointing)
        move(denoiser)
        saved = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal saved
            saved += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = clean(denoiser).square().mean()
        loss.backward()
        gradients.append((saved, [p.grad for p in adapter_parameters(denoiser.module)]))
    (much, plain), (little, recomputed) = gradients
    assert little < 0.7 * much  # it does recompute
    for one, other in zip(plain, recomputed, strict=True):
        assert one is not None and other is not None
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)
    assert any(bool(gradient.abs().max() > 0) for gradient in plain)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_looking_at_the_reference_keeps_gradients_of_earlier_graphs(checkpointing: bool) -> None:
    found = []
    for look in (False, True):
        denoiser = denoiser_of("sd3", gradient_checkpointing=checkpointing)
        move(denoiser)
        predicted = clean(denoiser)
        if look:
            with denoiser.reference():
                target = clean(denoiser)
            assert not target.requires_grad
        predicted.square().mean().backward()
        found.append([p.grad for p in adapter_parameters(denoiser.module)])
        assert all(p.requires_grad for p in adapter_parameters(denoiser.module))
    for one, other in zip(*found, strict=True):
        assert one is not None and other is not None
        assert torch.equal(one, other)


def test_layers_are_named_by_their_ends() -> None:
    linear = NetworkLoraSettings(rank=2, target_modules="all-linear")
    everywhere, attention = denoiser_of("sd3", lora=linear), denoiser_of("sd3")
    assert len(adapter_parameters(everywhere.module)) > len(adapter_parameters(attention.module))
    with pytest.raises(PolicyError, match=r"no linear layer named wqkv: .* lora.target_modules"):
        denoiser_of("sd3", lora=NetworkLoraSettings(target_modules=("wqkv",)))
