"""Padding moved from the left of rows to their right, where a causal model cannot see it.

Padding on the left changes what many models compute: learned positions count it, recurrent states take it in.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class RightPadded(NamedTuple):
    """Rows that begin with their prompt's first token."""

    ids: torch.Tensor  # (B, L)
    mask: torch.Tensor  # (B, L), 1 at real tokens
    places: torch.Tensor  # (B, C) columns of the completion's tokens, within L also where they are padding


def move_padding_right(input_ids: torch.Tensor, attention_mask: torch.Tensor, width: int) -> RightPadded:
    """From prompts padded on the left and completions of `width` = C padded on the right, (B, P + C) both."""
    length = input_ids.shape[1]
    prompt = length - width
    lead = prompt - attention_mask[:, :prompt].sum(dim=1, keepdim=True)  # (B, 1) columns of padding before
    columns = torch.arange(length, device=input_ids.device)
    source = (columns + lead) % length
    ids, mask = input_ids.gather(1, source), attention_mask.gather(1, source)
    longest = int(mask.sum(dim=1).max())
    places = (columns[prompt:] - lead).clamp(max=longest - 1)
    return RightPadded(ids[:, :longest], mask[:, :longest], places)
