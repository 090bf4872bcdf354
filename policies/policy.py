"""The Policy interface: sampling, updating, saving. All that the node's loop and the swarm see of a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from policies.direction import Direction
from policies.rollout import Finish, Group, Problem, Rollout, TrainGroup
from policies.seeds import derive_seed


class PolicyError(RuntimeError):
    """A policy that cannot be loaded or run as asked; the message says what to change."""


class DivergedError(RuntimeError):
    """The update gave a loss or gradient that is not finite; the weights were left as they were."""


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """One rollout that a policy is to begin, or a partial that it is to carry on."""

    problem: Problem
    # 63 bits. With a token's position it determines every random draw of the rollout, so that neither its
    # company in a batch nor an interruption changes what it samples under unchanged weights.
    key: int
    begun: Rollout | None = None  # an UNFINISHED rollout, perhaps of earlier policy versions


# Told after every token step which requests, by index, have finished since it was last asked (often none).
# True ends the call: every rollout that is not finished is returned as a partial.
Stop = Callable[[Sequence[int]], bool]


def never(finished: Sequence[int]) -> bool:
    """The `Stop` of whoever waits for every rollout."""
    return False


class Stale(StrEnum):
    """What the ratio of a token that an older policy version sampled is taken against."""

    BEHAVIOUR = "behaviour"  # the log-prob it was sampled with
    RECOMPUTE = "recompute"  # the policy's own log-prob at the start of the update: no correction
    MASK = "mask"  # nothing: such tokens are not trained on


@dataclass(frozen=True, slots=True)
class UpdateSpec:
    """How a strategy wants one update made. None leaves a setting of the policy's own as it is."""

    epochs: int = 1  # optimiser steps over the whole batch
    learning_rate_scale: float = 1.0
    clip: tuple[float, float] | None = None  # epsilon low and high, of token ratios; diffusion has its own
    stale: Stale = Stale.BEHAVIOUR
    # Whole number of completion tokens that every rollout counts for in the loss, whatever its length
    # (constant-length normalisation); None: all tokens of the step weigh the same.
    constant_length: int | None = None
    # Of a peer's rollout with a positive advantage, tokens that the own policy gives a smaller probability are context
    # only. 0: all train.
    external_floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Rounding:
    """What the arithmetic of sampler and trainer explains of the difference between them."""

    mean: float  # of the absolute differences, in nats
    clipped: float  # share of fresh tokens


@dataclass(frozen=True, slots=True)
class SamplerAgreement:
    """Fresh own tokens, scored by the trainer before it moved, against what the sampler recorded. In nats."""

    tokens: int
    mean: float  # of the absolute differences
    largest: float
    clipped_share: float  # of these tokens, whose ratio should be 1
    rounding: Rounding

    @property
    def off(self) -> bool:
        """Whether what sampled is not what is trained."""
        return not (self.mean <= self.rounding.mean and self.clipped_share <= self.rounding.clipped)


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What the optimiser steps of one update did. Plain figures for the event store."""

    loss: float
    grad_norm: float
    learning_rate: float
    entropy: float  # nats a trained token; of images, a dimension of a denoising step
    clipped_share: float  # of trained tokens or steps, 0..1
    rollouts: int
    tokens: int  # completion tokens, or denoising steps of images, trained on
    micro_batches: int
    agreement: SamplerAgreement | None = None  # None: nothing fresh was scored
    implausible: int = 0  # tokens of peers under `UpdateSpec.external_floor`
    shortage: str | None = None  # what the update did about too little memory, and what to set
    peak_bytes: int | None = None  # of memory, beyond what was in use before the update; None: not measured
    # Nats a trained token to the model without its adapter; None where trainer.beta is 0.
    kl: float | None = None


class RolloutSource(Protocol):
    """What the driver of strategies needs of a policy."""

    def sample(
        self, requests: Sequence[RolloutRequest], *, stop: Stop = never, held_out: bool = False
    ) -> list[Rollout]:
        """One unscored rollout a request, in order: finished, or UNFINISHED where `stop` ended the call first.

        Tokens sampled now are one more segment, with behaviour log-probs and the present version. `held_out`
        samples as evaluation does. Raises PolicyError when a rollout cannot fit into the memory budget.
        """
        ...


class Policy(RolloutSource, Protocol):
    """Generates rollouts and learns from groups. Not thread-safe except `encode`."""

    @property
    def version(self) -> int:
        """Counts the optimiser updates that changed the weights."""
        ...

    @property
    def fingerprint(self) -> str:
        """Short public description of architecture and tokenizer, at most 64 ASCII characters."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about how the model is used, one line each, for the start of a run."""
        ...

    def encode(self, text: str, finish: Finish) -> tuple[int, ...]:
        """Token ids of a peer's completion under the own tokenizer, as if the own policy had written it.

        Appends the token that ends the policy's own turns when `finish` is STOP. Text that spells a control token
        is encoded as plain characters. Of a text that exceeds the policy's cap for peers' completions, the part
        that `fit` gives. Thread-safe. Raises ValueError when nothing of the text is left, or it cannot be encoded
        without a control token.
        """
        ...

    def fit(self, text: str, finish: Finish) -> tuple[str, Finish]:
        """What `encode` encodes of a peer's completion, so that reward and training are about the same text.

        All of it where it fits. Else it is cut at the cap, in whole characters, and its finish is LENGTH, as the
        own policy would have been cut. Thread-safe. Raises ValueError as `encode` does.
        """
        ...

    def update(self, batch: Sequence[TrainGroup], spec: UpdateSpec = UpdateSpec()) -> UpdateReport | None:
        """Updates on groups of any size, external ones among them.

        None, and weights as before, where no token of the batch is to be trained on: all advantages are zero,
        or all tokens are stale and masked. Raises DivergedError, weights as before.
        """
        ...

    def save(self, folder: Path) -> None:
        """Writes weights, optimiser, scheduler and random state into an existing empty folder."""
        ...

    def load(self, folder: Path) -> None:
        """Restores what `save` wrote, so that training goes on as if it had not stopped."""
        ...


@runtime_checkable
class ComparesGradients(Protocol):
    """A policy that can say which way groups would move it."""

    def directions(self, groups: Sequence[TrainGroup]) -> list[Direction | None]:
        """Of each group the direction of its loss's gradient to the output layer, of length 1: SKETCH numbers, whose
        products are nearly the cosines of the gradients, now and in later rounds. None for a group with nothing to be
        trained on.

        Weights, optimiser and random state stay as they are; one forward pass over every group.
        """
        ...


def sample_groups(
    policy: RolloutSource, problems: Sequence[Problem], rollouts: int, seed: int, *, held_out: bool = False
) -> list[Group]:
    """`rollouts` finished, unscored rollouts of each problem, all waited for."""
    requests = [
        RolloutRequest(problem, derive_seed(seed, place, number))
        for place, problem in enumerate(problems)
        for number in range(rollouts)
    ]
    sampled = iter(policy.sample(requests, held_out=held_out))
    return [Group(problem, tuple(next(sampled) for _ in range(rollouts))) for problem in problems]
