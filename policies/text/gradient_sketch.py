"""The gradient to a model's output layer in few numbers: which way groups pull it, from forward passes alone.

At a token y after the hidden state h, the gradient of the log-likelihood to the output layer is (onehot(y) - p) h'.
That of all weights takes a backward pass for each group, which was a seventh of an embedded node's processor time.
Long vectors are folded: each entry goes, with a sign of its own, into one of fewer buckets, so that products of folded
ones are nearly those of the whole (a count sketch: Charikar, Chen & Farach-Colton, 2002).
"""

from __future__ import annotations

import math

import torch

from policies.direction import SKETCH, Direction
from policies.text.head import LogitChange, residuals

# Numbers of the residuals and of the hidden states that a gradient is made of; smaller models are taken exactly.
RESIDUALS, STATES = 4096, 256
_MIX = (-7046029254386353131, -4658895280553007687)  # splitmix64's constants, as signed numbers


def output_gradient(
    hidden: torch.Tensor,
    head: torch.nn.Linear,
    targets: torch.Tensor,
    weights: torch.Tensor,
    temperature: float,
    change: LogitChange,
) -> torch.Tensor:
    """Of the weighted sum of log-probs of `targets` (N,) behind hidden states (N, H); folded, times the temperature."""
    states = weights[:, None] * fold(hidden.float(), STATES)
    parts = residuals(hidden, head, targets, temperature, change)
    products = [fold(residual.float(), RESIDUALS).t() @ states[part] for part, residual in parts]
    return -torch.stack(products).sum(0)


def sketch(gradient: torch.Tensor) -> Direction | None:
    """SKETCH numbers of length 1. None where the gradient is not finite, or zero."""
    found = fold(gradient.reshape(1, -1), SKETCH)[0].cpu()
    found = torch.nn.functional.pad(found, (0, SKETCH - len(found)))
    norm = float(found.norm())
    return (found / norm).numpy() if 0.0 < norm < math.inf else None


def fold(rows: torch.Tensor, buckets: int) -> torch.Tensor:
    """(N, M) as (N, buckets), or as they are where M is no more than that."""
    width = rows.shape[1]
    if width <= buckets:
        return rows
    signed = rows * _signs(width, rows.device)
    return torch.nn.functional.pad(signed, (0, -width % buckets)).view(len(rows), -1, buckets).sum(1)


def _signs(count: int, device: torch.device) -> torch.Tensor:
    """-1 or 1 for each entry, the same on any device."""
    mixed = torch.arange(1, count + 1, device=device) * _MIX[0]
    mixed = (mixed ^ (mixed >> 29)) * _MIX[1]
    return 1.0 - 2.0 * ((mixed >> 40) & 1).float()
