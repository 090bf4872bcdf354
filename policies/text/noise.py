"""A model's own randomness in training: dropout, skipped layers, jittered routers. Updates are made without it.

The policy that is updated must be the one that sampled: with dropout the ratio of a fresh rollout is not 1, and a
third of its tokens is clipped. An adapter's own dropout is the user's choice and stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from policies.policy import PolicyError

# Names of rates, on modules and in configurations, that matter in training mode alone.
RATES = re.compile(r"drop|jitter|router_noise|stochastic_depth")
SAME = 1e-5  # largest difference of logits that two passes may have, beside their size


def switch_off_noise(model: torch.nn.Module) -> None:
    """Sets every rate of randomness in modules and configurations to zero, for good; adapters' dropout stays.

    Layers read them from either place, some anew in every pass.
    """
    kept = {id(module) for module in _adapter_dropout(model)}
    for holder in _holders(model):
        if id(holder) in kept:
            continue
        if isinstance(holder, torch.nn.modules.dropout._DropoutNd):
            holder.p = 0.0
        for name, value in list(vars(holder).items()):
            if isinstance(value, float) and value > 0.0 and RATES.search(name):
                setattr(holder, name, 0.0)
        if getattr(holder, "rescale_every", 0):  # RWKV divides its weights in place in inference mode
            holder.rescale_every = 0


def quieten(model: torch.nn.Module) -> None:
    """Training mode for gradients alone: the model itself, layers that recompute, and adapters' dropout.

    For a model whose layers draw in training mode whatever their rates say.
    """
    kept = {id(model), *map(id, _adapter_dropout(model))}
    for module in model.modules():
        module.training = id(module) in kept or _recomputes(module)


@torch.no_grad()
def draws_in_training(model: torch.nn.Module, ids: torch.Tensor, *, quiet: bool) -> bool:
    """Whether two passes over `ids` (B, L) in training mode differ, from each other or from one in inference mode.

    `quiet`: with `quieten`. Adapters' dropout is left out. The model's mode and random state are left as they were.
    """
    training = {module: module.training for module in model.modules()}
    with torch.random.fork_rng(), _without_adapter_dropout(model):
        passes = []
        for mode in (True, True, False):
            model.train(mode)
            if mode and quiet:
                quieten(model)
            passes.append(model(input_ids=ids, use_cache=False).logits.float())
    for module, mode in training.items():
        module.training = mode
    first, *others = passes
    return any(float(((first - other).abs() / (1 + other.abs())).max()) > SAME for other in others)


def needs_quiet(model: torch.nn.Module, ids: torch.Tensor) -> bool:
    """Whether updates have to `quieten` the model. Raises PolicyError where even that leaves randomness in them."""
    for quiet in (False, True):
        if not draws_in_training(model, ids, quiet=quiet):
            return quiet
    raise PolicyError(
        "this model draws at random in training whatever its configuration says, so that it would not be trained as "
        "it samples; set trainer.gradient_checkpointing = false, or choose another model"
    )


@contextmanager
def _without_adapter_dropout(model: torch.nn.Module) -> Iterator[None]:
    rates = [(module, module.p) for module in _adapter_dropout(model) if isinstance(module, torch.nn.Dropout)]
    for module, _ in rates:
        module.p = 0.0
    try:
        yield
    finally:
        for module, rate in rates:
            module.p = rate


def adapter_drops(model: torch.nn.Module) -> bool:
    """Whether an adapter of the model has dropout."""
    return any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in _adapter_dropout(model))


def _adapter_dropout(model: torch.nn.Module) -> list[torch.nn.Module]:
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    return [dropout for layer in layers for dropout in layer.lora_dropout.values()]


def _recomputes(module: torch.nn.Module) -> bool:
    return bool(getattr(module, "gradient_checkpointing", False))


def _holders(model: torch.nn.Module) -> list[Any]:
    """Every module and every configuration of the model, each once."""
    modules = list(model.modules())
    configs = [config for module in modules if hasattr(config := getattr(module, "config", None), "to_dict")]
    nested = [value for config in configs for value in vars(config).values() if hasattr(value, "model_type")]
    return list({id(holder): holder for holder in (*modules, *configs, *nested)}.values())
