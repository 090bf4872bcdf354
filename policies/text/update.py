"""What an `UpdateSpec` asks of a trainer, apart from the loss: rates, what ratios are taken against, undoing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import torch

from policies.policy import DivergedError, Stale, UpdateSpec
from policies.text.batching import Row

# Log-probs of the rows' tokens under the policy as it is, row by row.
OwnLogprobs = Callable[[Sequence[Row]], list[list[float]]]


def settled(rows: Sequence[Row], spec: UpdateSpec, own_logprobs: OwnLogprobs) -> list[Row]:
    """`rows` with what all epochs of an update must agree on: which tokens train, and against what.

    Own log-probs are computed only where they matter: a single epoch takes a ratio of 1 where none are known.
    """
    rows = list(rows)
    if spec.stale is Stale.MASK:
        rows = [row.without_stale() for row in rows]
    elif spec.stale is Stale.RECOMPUTE:
        rows = [replace(row, logprobs=None) if row.stale and all(row.stale) else row for row in rows]

    def asks(row: Row) -> bool:
        if row.logprobs is None:
            return row.advantage != 0.0 and spec.epochs > 1
        return row.advantage != 0.0 and spec.stale is Stale.RECOMPUTE and row.stale is not None

    asking = [row for row in rows if asks(row)]
    own = iter(own_logprobs(asking)) if asking else iter(())
    return [row.against(next(own)) if asks(row) else row for row in rows]


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
