"""Weights of an adapted model as its forward pass applies them: wrappers looked through, adapters added."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Linear, ParamWrapper
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper

# How far a probe moves what an adapter trains: a zero by this much, other weights by this share of their spread.
SHIFT = 0.05


class UnmergeableError(Exception):
    """An adapter whose effect on the weights is not known here; the message names it."""


def effective_weight(model: torch.nn.Module, name: str) -> torch.Tensor:
    """The parameter or buffer `name` of the plain model, with what every adapter round it adds.

    Raises UnmergeableError for a kind of adapter that cannot be written as weights.
    """
    owner, _, leaf = name.rpartition(".")
    *wrappers, plain = _layers(model, owner)
    weight = getattr(plain, leaf)
    assert isinstance(weight, torch.Tensor)
    for wrapper in reversed(wrappers):
        weight = _with_adapters(wrapper, leaf, weight)
    return weight


def frozen_weight(model: torch.nn.Module, name: str) -> torch.Tensor | None:
    """The parameter `name` of the plain model, where it does not train and no adapter adds to it."""
    owner, _, leaf = name.rpartition(".")
    *wrappers, plain = _layers(model, owner)
    weight = getattr(plain, leaf)
    assert isinstance(weight, torch.Tensor)
    return None if wrappers or weight.requires_grad else weight


def is_wrapped(module: torch.nn.Module | None) -> bool:
    """Whether an adapter stands round this module."""
    return isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)


@contextmanager
def moved_adapters(model: torch.nn.Module) -> Iterator[None]:
    """Inside, what the adapters train is shifted at random, the same way every time; afterwards it is as before.

    A fresh adapter adds nothing, so that whatever forgot it would look right.
    """
    trained = {
        id(weight): weight
        for module in model.modules()
        if is_wrapped(module)
        for weight in module.parameters()
        if weight.requires_grad
    }
    before = [weight.detach().clone() for weight in trained.values()]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in trained.values():
            noise = torch.randn(weight.shape, generator=generator).to(weight.device, weight.dtype)
            spread = float(weight.float().std()) if weight.numel() > 1 else 0.0
            weight.add_(noise, alpha=SHIFT * spread or SHIFT)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(trained.values(), before, strict=True):
                weight.copy_(value)


def _layers(model: torch.nn.Module, path: str) -> list[torch.nn.Module]:
    """The module at `path` of the plain model: wrappers from the outermost in, then the module itself."""
    layers = _unwrapped(model)
    for part in path.split(".") if path else ():
        layers = _unwrapped(getattr(layers[-1], part))
    return layers


def _unwrapped(module: torch.nn.Module) -> list[torch.nn.Module]:
    layers = [module]
    while is_wrapped(layers[-1]):
        layers.append(_inside(layers[-1]))
    return layers


def _inside(wrapper: torch.nn.Module) -> torch.nn.Module:
    if isinstance(wrapper, BaseTunerLayer):
        inner = wrapper.base_layer
    elif isinstance(wrapper, ModulesToSaveWrapper):
        active = None if wrapper.disable_adapters else next(iter(wrapper.active_adapters), None)
        inner = wrapper.original_module if active is None else wrapper.modules_to_save[active]
    else:
        raise UnmergeableError(f"{type(wrapper).__name__} is no adapter that can be merged here")
    assert isinstance(inner, torch.nn.Module)
    return inner


def _with_adapters(wrapper: torch.nn.Module, leaf: str, weight: torch.Tensor) -> torch.Tensor:
    """`weight`, which is `leaf` of what `wrapper` stands round, with what the active adapters add to it."""
    if isinstance(wrapper, ModulesToSaveWrapper):
        return weight
    if not isinstance(wrapper, LoraLayer):
        raise UnmergeableError(f"{type(wrapper).__name__} is no adapter that can be merged here")
    if wrapper.disable_adapters or wrapper.merged:
        return weight
    for adapter in (name for name in wrapper.active_adapters if name in wrapper.scaling):
        if isinstance(wrapper, ParamWrapper):
            if leaf == wrapper.parameter_name:
                weight = weight + wrapper.get_delta_weight(adapter)
        elif leaf == "weight":
            weight = _with_lora(wrapper, adapter, weight)
        elif leaf == "bias" and wrapper.lora_bias.get(adapter):
            weight = weight + wrapper.lora_B[adapter].bias * wrapper.scaling[adapter]
    return weight


def _with_lora(layer: LoraLayer, adapter: str, weight: torch.Tensor) -> torch.Tensor:
    variant = layer.lora_variant.get(adapter)
    if variant is None and type(layer) is Linear and not layer.fan_in_fan_out:
        low, high = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
        if weight.dtype == low.dtype == high.dtype:  # one product, where peft makes three tensors
            return torch.addmm(weight, high, low, alpha=layer.scaling[adapter])
    if variant is None:
        delta: torch.Tensor = layer.get_delta_weight(adapter)
        return weight + delta
    merged: torch.Tensor = variant.merge_safe(layer, adapter, weight)
    layer._caches.clear()  # what peft keeps for taking the merge back
    return merged
