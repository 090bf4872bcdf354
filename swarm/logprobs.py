"""Behaviour log-probs as they travel beside a text: one byte a token.

A byte b stands for LOWEST * (b / 255)**2, so that whatever arrives is finite, at most 0 and at least LOWEST. The error
is under 0.063 nats, and under 0.016 where the token had a probability over 1/e; what is below LOWEST reads as LOWEST.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from policies.rollout import Group, Rollout

LOWEST = -16.0  # nats; 1 in 9 million, which is hardly ever sampled. Changing breaks: ratios against peers.
_STEPS = 255


def pack(logprobs: Sequence[float]) -> bytes:
    share = np.clip(np.asarray(logprobs, dtype=np.float64) / LOWEST, 0.0, 1.0)
    return bytes(np.rint(_STEPS * np.sqrt(share)).astype(int).tolist())


def unpack(packed: bytes) -> tuple[float, ...]:
    shares = np.frombuffer(packed, dtype=np.uint8) / _STEPS
    return tuple((LOWEST * shares**2).tolist())


def with_logprobs(group: Group, told: Sequence[bytes]) -> tuple[Group, int]:
    """A re-encoded group with what was told of each rollout's tokens, and the number of rollouts that it does not fit.

    Those stay without, like the ones of which nothing was told.
    """
    pairs = list(zip(group.rollouts, told, strict=True))
    misfits = sum(bool(packed) and not _fits(rollout, packed) for rollout, packed in pairs)
    return replace(group, rollouts=tuple(_told(*pair) for pair in pairs)), misfits


def _fits(rollout: Rollout, packed: bytes) -> bool:
    return len(rollout.segments) == 1 and len(rollout.token_ids) == len(packed)


def _told(rollout: Rollout, packed: bytes) -> Rollout:
    if not _fits(rollout, packed):
        return rollout
    return replace(rollout, segments=(replace(rollout.segments[0], logprobs=unpack(packed)),))
