"""A low-rank adapter inside a denoising network, which can be switched off to have the reference policy back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer

from policies.diffusion.pipeline.settings import NetworkLoraSettings
from policies.policy import PolicyError
from policies.randomness import seeded

ADAPTER = "policy"


def attach_lora(network: torch.nn.Module, settings: NetworkLoraSettings, seed: int) -> None:
    """Puts an adapter that changes nothing yet into `network`; only the adapter, in float32, requires gradients.

    Raises PolicyError when the network has none of the layers.
    """
    network.requires_grad_(False)
    targets = _targets(network, settings)
    device = next(network.parameters()).device
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=targets)
    with seeded(seed, device):
        inject_adapter_in_model(config, network, ADAPTER)
    for parameter in adapter_parameters(network):
        parameter.data = parameter.data.float()
    network.eval()


def adapter_parameters(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    """All weights of the adapter."""
    return [parameter for name, parameter in network.named_parameters() if f".{ADAPTER}." in name]


@contextmanager
def without_adapters(network: torch.nn.Module) -> Iterator[None]:
    """Within it the network computes as if it had no adapter. Graphs made before it keep their gradients."""
    layers = [layer for layer in network.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _targets(network: torch.nn.Module, settings: NetworkLoraSettings) -> list[str]:
    """Full names of the linear layers that get an adapter."""
    linear = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Linear)]
    if settings.target_modules == "all-linear":
        return linear
    ends = settings.target_modules
    found = [name for name in linear if any(name == end or name.endswith(f".{end}") for end in ends)]
    if not found:
        raise PolicyError(
            f"{type(network).__name__} has no linear layer named {', '.join(ends)}: "
            "name its layers in lora.target_modules"
        )
    return found
