"""Gradients in a few thousand numbers, whose cosines are nearly those of the gradients: a count sketch.

Each entry goes, with a sign of its own, into one of SKETCH buckets (Charikar, Chen & Farach-Colton, 2002). A sketch is
kept for rounds where a gradient would take as much memory as the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from policies.direction import SKETCH, Direction

_CHUNK = 256 * SKETCH  # entries whose signs are made at a time
_MIX = (-7046029254386353131, -4658895280553007687)  # splitmix64's constants, as signed numbers


def sketch(parameters: Iterable[torch.nn.Parameter]) -> Direction | None:
    """Of the gradients that lie on `parameters`, of length 1. None where one is not finite, or all are zero."""
    chunk, found = 0, torch.zeros(SKETCH)
    for parameter in parameters:
        # Numbered with or without a gradient: the same entry has the same sign each time.
        numbers = range(chunk, chunk + -(-parameter.numel() // _CHUNK))
        chunk = numbers.stop
        if parameter.grad is None:
            continue
        flat = parameter.grad.detach().flatten()
        for number, start in zip(numbers, range(0, len(flat), _CHUNK), strict=True):
            found += _folded(flat[start : start + _CHUNK], number).cpu()
    norm = float(found.norm())
    return (found / norm).numpy() if 0.0 < norm < math.inf else None


def _folded(part: torch.Tensor, chunk: int) -> torch.Tensor:
    signed = part.float() * _signs(chunk, len(part), part.device)
    return torch.nn.functional.pad(signed, (0, -len(part) % SKETCH)).view(-1, SKETCH).sum(0)


def _signs(chunk: int, count: int, device: torch.device) -> torch.Tensor:
    """-1 or 1 for each entry of a chunk, the same on any device."""
    mixed = (torch.arange(count, device=device) + chunk * _CHUNK) * _MIX[0]
    mixed = (mixed ^ (mixed >> 29)) * _MIX[1]
    return 1.0 - 2.0 * ((mixed >> 40) & 1).float()
