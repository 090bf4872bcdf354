"""Optimiser helpers of every policy: another learning rate for one update, and undoing an update that diverged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch

from policies.policy import DivergedError


@contextmanager
def scaled_rate(optimizer: torch.optim.Optimizer, scale: float) -> Iterator[float]:
    """Inside, `optimizer` learns at `scale` times its rate; gives that rate."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] *= scale
    try:
        yield float(optimizer.param_groups[0]["lr"])
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


@contextmanager
def all_or_nothing(
    parameters: Iterable[torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> Iterator[None]:
    """Undoes the optimiser steps that were made inside when one of them diverges. Copies all that trains."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    weights = [parameter.detach().clone() for parameter in trained]
    progress = deepcopy(optimizer.state_dict())
    try:
        yield
    except DivergedError:
        with torch.no_grad():
            for parameter, weight in zip(trained, weights, strict=True):
                parameter.copy_(weight)
        optimizer.load_state_dict(progress)
        raise
