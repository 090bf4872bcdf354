"""BroRL's token simulator: one softmax over tokens, of which some are correct (arXiv 2510.01180, sec. 4.1).

A token is a whole rollout. Each step samples N of them, rewards the correct with +1 and the others with -1, and
follows the gradient by AdamW. Nothing is approximated, and a run is fixed by its generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from policies.repeatable import one_thread


@dataclass(frozen=True, slots=True)
class TokenWorld:
    """The starting policy, at a tenth of the paper's size. Correct tokens come first; token 0 is the anchor."""

    tokens: int = 12_800
    correct: int = 1_000
    correct_logit: float = 3.0  # of a wrong token: 0
    anchor_logit: float = 5.0  # a correct token: with it the paper's starting Q_pos of 0.630 comes out

    def logits(self) -> torch.Tensor:
        """Shape (tokens,), float64: in float32 the rounding of the cumulated sum would be 0.2 % of a rare token."""
        logits = torch.zeros(self.tokens, dtype=torch.float64)
        logits[: self.correct] = self.correct_logit
        logits[0] = self.anchor_logit
        return logits


@dataclass(frozen=True, slots=True)
class TokenOutcome:
    """What became of the correct tokens between the first and the last step."""

    start: float  # Q_pos, the probability of all correct tokens together, before the first step
    q_pos: float  # the same after the last step
    gained: float  # share of the correct tokens that are likelier than at the start
    worst: float  # the smallest change of probability of a correct token; above 0 where all gained


def simulate(
    world: TokenWorld, rollouts: int, steps: int, learning_rate: float, generator: np.random.Generator
) -> TokenOutcome:
    """`steps` updates on `rollouts` samples each, by AdamW with torch's other defaults."""
    # Vectors this short lose more at the threads' barriers than they win: 23 s against 2 s on two busy cores.
    with one_thread():
        return _simulate(world, rollouts, steps, learning_rate, generator)


def _simulate(
    world: TokenWorld, rollouts: int, steps: int, learning_rate: float, generator: np.random.Generator
) -> TokenOutcome:
    logits = world.logits()
    before = logits.softmax(0)[: world.correct]
    optimizer = torch.optim.AdamW([logits], lr=learning_rate)
    for _ in range(steps):
        probabilities = logits.softmax(0)
        logits.grad = loss_gradient(probabilities, sample(probabilities, rollouts, generator), world.correct)
        optimizer.step()
    after = logits.softmax(0)[: world.correct]
    change = after - before
    gained = (change > 0).double().mean()
    return TokenOutcome(float(before.sum()), float(after.sum()), float(gained), float(change.min()))


def sample(probabilities: torch.Tensor, rollouts: int, generator: np.random.Generator) -> torch.Tensor:
    """Indices of `rollouts` independent draws, by inversion of the cumulated probabilities."""
    cumulated = probabilities.cumsum(0)
    draws = torch.from_numpy(generator.random(rollouts)) * cumulated[-1]
    return torch.searchsorted(cumulated, draws, right=True)


def loss_gradient(probabilities: torch.Tensor, sampled: torch.Tensor, correct: int) -> torch.Tensor:
    """Gradient by the logits of -(1/N) sum over rollouts of (reward - mean reward) * p(token).

    The surrogate is linear in p, as in the paper's theorem: unsampled tokens move through the softmax alone.
    """
    rewards = torch.where(sampled < correct, 1.0, -1.0).to(probabilities.dtype)
    weights = torch.zeros_like(probabilities).index_add_(0, sampled, rewards - rewards.mean())
    return -probabilities * (weights - weights @ probabilities) / len(sampled)
