"""The Policy seam: what a node trains. The loop, store and swarm see a policy through this and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from policies.rollout import Finish, Group, Problem, TrainGroup


class PolicyError(RuntimeError):
    """A policy that cannot be loaded or run as asked; the message says what to change."""


class DivergedError(RuntimeError):
    """The update gave a loss or gradient that is not finite; the weights were left as they were."""


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What one optimiser update did. Plain figures for the event store."""

    loss: float
    grad_norm: float
    learning_rate: float
    entropy: float  # nats a trained token
    clipped_share: float  # of trained tokens, 0..1
    rollouts: int
    tokens: int  # completion tokens trained on
    micro_batches: int


class Policy(Protocol):
    """Generates rollouts and learns from groups. Not thread-safe except `encode`."""

    @property
    def version(self) -> int:
        """Counts the optimiser updates that changed the weights."""
        ...

    @property
    def fingerprint(self) -> str:
        """Short public description of architecture and tokenizer, at most 64 ASCII characters."""
        ...

    def generate(self, problems: Sequence[Problem], rollouts: int, seed: int) -> list[Group]:
        """`rollouts` unscored completions of each problem, with token ids and behaviour log-probs."""
        ...

    def encode(self, text: str, finish: Finish) -> tuple[int, ...]:
        """Token ids of a peer's completion under the own tokenizer, as if the own policy had written it.

        Appends the end-of-sequence token when `finish` is STOP. Text that spells a control token is encoded
        as plain characters. Thread-safe. Raises ValueError when the text is empty, longer than the policy's
        completion cap, or cannot be encoded without a control token.
        """
        ...

    def update(self, batch: Sequence[TrainGroup]) -> UpdateReport:
        """One optimiser update on groups of any size, external ones among them. Raises DivergedError."""
        ...

    def save(self, folder: Path) -> None:
        """Writes weights, optimiser, scheduler and random state into an existing empty folder."""
        ...

    def load(self, folder: Path) -> None:
        """Restores what `save` wrote, so that training goes on as if it had not stopped."""
        ...
