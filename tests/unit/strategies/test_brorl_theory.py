"""BroRL's theorem (arXiv 2510.01180, sec. 2) against the softmax it is about, and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from brorl_theory import expected_unsampled, mass_change
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

REWARDS = st.tuples(st.floats(0, 3), st.floats(-3, 0))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


def world(
    seed: int, size: int, draws: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Random logits, every tenth token correct, and which tokens were drawn."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=size)
    sampled = np.zeros(size, dtype=bool)
    sampled[generator.choice(size, size=draws, p=softmax(logits))] = True
    return logits, np.arange(size) % 10 == 0, sampled


def logit_step(
    p: NDArray[np.float64],
    correct: NDArray[np.bool_],
    sampled: NDArray[np.bool_],
    rewards: tuple[float, float],
) -> NDArray[np.float64]:
    """Gradient of sum R_i p_i with respect to the logits, R being 0 for what was not sampled."""
    reward = np.where(correct, *rewards) * sampled
    return p * (reward - p @ reward)


@given(st.integers(0, 2**32), st.integers(2, 400), st.integers(1, 64), REWARDS)
def test_the_identity_is_exact_to_first_order(
    seed: int, size: int, draws: int, rewards: tuple[float, float]
) -> None:
    logits, correct, sampled = world(seed, size, draws)
    p = softmax(logits)
    change = mass_change(p, correct, sampled, rewards, step=1.0)
    moved = logit_step(p, correct, sampled, rewards)
    direct = float((p * (moved - p @ moved))[correct].sum())
    terms = (change.sampled_correct, change.sampled_wrong, change.unsampled)
    # Relative to the terms, which may cancel. Rewards near the smallest float lose digits by underflow.
    assert change.total == pytest.approx(direct, rel=1e-12, abs=1e-12 * sum(map(abs, terms)) + 1e-300)
    assert change.sampled_correct >= 0 and change.sampled_wrong >= 0


def test_a_small_step_on_the_true_softmax_agrees() -> None:
    logits, correct, sampled = world(3, 2000, 64)
    p, rewards, rate = softmax(logits), (1.0, -1.0), 1e-2
    moved = softmax(logits + rate * logit_step(p, correct, sampled, rewards))[correct].sum()
    change = mass_change(p, correct, sampled, rewards, rate).total
    assert moved - p[correct].sum() == pytest.approx(change, rel=1e-4)


@pytest.mark.parametrize(
    ("draws", "expected"), [(4, 3.13e-3), (64, 2.07e-3), (256, 9.49e-4), (1024, 1.02e-4)]
)
def test_unsampled_mass_vanishes_with_breadth(draws: int, expected: float) -> None:
    logits = np.zeros(2000)
    logits[:160] = 3.0
    logits[0] = 5.0
    p = softmax(logits)
    assert expected_unsampled(p, draws) == pytest.approx(expected, rel=0.05)
    generator = np.random.default_rng(draws)
    left = [(p[generator.multinomial(draws, p) == 0] ** 2).sum() for _ in range(400)]
    assert np.mean(left) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("draws", "expected"), [(4, 0.239), (8, 0.055), (16, 0.0040)])
def test_harm_is_missing_the_dominant_right_answer(draws: int, expected: float) -> None:
    p = np.concatenate([[0.30], np.full(200, 0.35 / 200), np.full(1800, 0.35 / 1800)])
    correct = np.arange(2001) <= 200
    generator = np.random.default_rng(0)
    harmed = [
        mass_change(p, correct, generator.multinomial(draws, p) > 0, (1.0, -1.0), 1.0).total < 0
        for _ in range(4000)
    ]
    assert np.mean(harmed) == pytest.approx(expected, abs=0.02)
    assert (1 - 0.3) ** draws == pytest.approx(expected, abs=0.02)


def test_rewards_of_the_wrong_sign_are_refused() -> None:
    logits, correct, sampled = world(0, 20, 4)
    with pytest.raises(ValueError, match="correct >= 0 >= wrong"):
        mass_change(softmax(logits), correct, sampled, (-1.0, -2.0), 1.0)
