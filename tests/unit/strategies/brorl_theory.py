"""The oracle of BroRL's mass-balance theorem: the change of probabilities by one update (arXiv 2510.01180, sec. 2).

One policy-gradient step on the logits of p = softmax(z), first order, linear surrogate, distinct sampled
token types. A are the sampled correct tokens, B the sampled wrong ones, U those unsampled; X2 = sum of p^2 over X.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MassChange:
    """The three terms of theorem 1; their sum is the change of the correct tokens' probability Q_pos."""

    sampled_correct: float  # (R_c - S_R) Q_neg A2, never negative
    sampled_wrong: float  # (S_R - R_w) Q_pos B2, never negative
    unsampled: float  # S_R (Q_pos U_neg2 - Q_neg U_pos2), of either sign

    @property
    def total(self) -> float:
        return self.sampled_correct + self.sampled_wrong + self.unsampled


def mass_change(
    probabilities: NDArray[np.float64],
    correct: NDArray[np.bool_],
    sampled: NDArray[np.bool_],
    rewards: tuple[float, float],
    step: float,
) -> MassChange:
    """dQ_pos by theorem 1. Arrays are (V,); `rewards` is (R_c, R_w); `step` is eta / N.

    Needs R_c >= 0 >= R_w; unsampled tokens have reward 0. Raises ValueError otherwise.
    """
    right, wrong = rewards
    if not right >= 0.0 >= wrong:
        raise ValueError(f"rewards {rewards}: the theorem needs correct >= 0 >= wrong")
    squares = probabilities**2
    q_pos, q_neg = probabilities[correct].sum(), probabilities[~correct].sum()
    mood = right * probabilities[sampled & correct].sum() + wrong * probabilities[sampled & ~correct].sum()
    coupling = q_pos * squares[~sampled & ~correct].sum() - q_neg * squares[~sampled & correct].sum()
    return MassChange(
        sampled_correct=float(step * (right - mood) * q_neg * squares[sampled & correct].sum()),
        sampled_wrong=float(step * (mood - wrong) * q_pos * squares[sampled & ~correct].sum()),
        unsampled=float(step * mood * coupling),
    )


def expected_unsampled(probabilities: NDArray[np.float64], draws: int) -> float:
    """E[U2] = sum p^2 (1 - p)^N after N independent draws (lemma 2): what breadth makes vanish."""
    return float(np.sum(probabilities**2 * (1.0 - probabilities) ** draws))
