"""Problem, rollout, group: the frozen values that every other module works on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain

# Rewards no further apart than this share of the largest are equal: sums of the same terms in another order differ
# by rounding. An advantage below the second is what rounding left of zero.
REWARD_ROUNDING = 1e-9
ADVANTAGE_ROUNDING = 1e-12


def rewards_equal(rewards: Sequence[float]) -> bool:
    """Whether rewards differ by rounding at most. Raises ValueError where one is not finite."""
    if not all(map(math.isfinite, rewards)):
        raise ValueError(f"rewards have to be finite numbers, and one of {len(rewards)} is not")
    low, high = min(rewards, default=0.0), max(rewards, default=0.0)
    return high - low <= REWARD_ROUNDING * max(abs(low), abs(high))


class Finish(StrEnum):
    """Why a rollout's last token is its last."""

    STOP = "stop"  # the policy wrote an end-of-sequence token; it is the last of the token ids
    LENGTH = "length"  # cut at the length cap; no end-of-sequence token is in the token ids
    UNFINISHED = "unfinished"  # a partial, to be carried on in a later round


@dataclass(frozen=True, slots=True)
class Problem:
    """One (task, seed): a prompt and what its task needs to verify a completion.

    Only `task` and `seed` ever travel. `prompt` and `answer` are rebuilt by whoever needs them.
    """

    task: str  # full name with version, as `Task.name` gives it
    seed: int
    prompt: str  # the user's message; a policy puts its own chat template round it
    answer: str = field(repr=False)  # for the task's verifier alone
    words: str = ""  # the same in words, where the prompt is a code that only the embedded policy knows


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens that one policy version sampled (or that we re-encoded from a peer's text)."""

    policy_version: int
    token_ids: tuple[int, ...]
    # Behaviour log-probs, one a token, of the tempered but untruncated distribution; None when unknown.
    logprobs: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.logprobs is not None and len(self.logprobs) != len(self.token_ids):
            raise ValueError(f"{len(self.logprobs)} log-probs for {len(self.token_ids)} tokens")


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image: 8 bits a channel, rows from the top, no metadata."""

    width: int
    height: int
    channels: int  # 1 (grey) or 3 (RGB)
    pixels: bytes = field(repr=False)  # height x width x channels

    def __post_init__(self) -> None:
        if len(self.pixels) != self.width * self.height * self.channels or self.channels not in (1, 3):
            raise ValueError(
                f"{len(self.pixels)} bytes for {self.width} x {self.height} x {self.channels} pixels"
            )


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion: text or an image, its tokens by policy version, why it ended, and its reward once scored."""

    text: str  # decoded without special tokens; empty where the completion is an image
    segments: tuple[Segment, ...]  # none where it is an image
    finish: Finish
    reward: float | None = None
    image: Image | None = None
    # Its verifier did not come to an end: it has no reward and is left out of its group.
    no_verdict: bool = False

    @property
    def token_ids(self) -> tuple[int, ...]:
        if len(self.segments) == 1:  # nearly always, and asked for often: nothing to copy
            return self.segments[0].token_ids
        return tuple(chain.from_iterable(segment.token_ids for segment in self.segments))

    @property
    def logprobs(self) -> tuple[float, ...] | None:
        """Behaviour log-probs of all tokens, or None if those of any segment are unknown."""
        parts = [segment.logprobs for segment in self.segments]
        known = [part for part in parts if part is not None]
        return tuple(chain.from_iterable(known)) if len(known) == len(parts) else None

    def scored(self, reward: float | None) -> Rollout:
        """With its reward, or with no verdict where that is None."""
        return replace(self, reward=reward, no_verdict=reward is None)


@dataclass(frozen=True, slots=True)
class Group:
    """The rollouts of one problem by one node."""

    problem: Problem
    rollouts: tuple[Rollout, ...]
    origin: str | None = None  # the PeerID of the node that sampled it; None: this node

    @property
    def external(self) -> bool:
        return self.origin is not None

    @property
    def judged(self) -> Group:
        """Without the rollouts that no verdict was come to."""
        if not any(rollout.no_verdict for rollout in self.rollouts):
            return self
        return replace(self, rollouts=tuple(r for r in self.rollouts if not r.no_verdict))

    @property
    def rewards(self) -> tuple[float, ...]:
        """Rewards in rollout order. Raises ValueError while a rollout is unscored."""
        rewards = tuple(r.reward for r in self.rollouts if r.reward is not None)
        if len(rewards) != len(self.rollouts):
            raise ValueError(f"group of {self.problem.task} has unscored rollouts")
        return rewards

    @property
    def image_bytes(self) -> int:
        """Bytes of all pixels; 0 of text."""
        return sum(len(rollout.image.pixels) for rollout in self.rollouts if rollout.image)

    @property
    def mean_reward(self) -> float:
        return statistics.fmean(self.rewards)

    @property
    def zero_advantage(self) -> bool:
        """All rewards equal: the group-relative advantage is zero everywhere and there is nothing to learn."""
        return rewards_equal(self.rewards)


@dataclass(frozen=True, slots=True)
class TrainGroup:
    """A group with one finite advantage a rollout, as the trainer takes it; what rounding left of zero is zero.

    A text policy takes them as they are; a diffusion policy as the rewards of leaves, which it fuses up a tree.
    """

    group: Group
    advantages: tuple[float, ...]
    # Of each rollout, which of its tokens are context only (None: none is); None: no token of any is.
    skipped: tuple[tuple[bool, ...] | None, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.advantages) != len(self.group.rollouts):
            raise ValueError(f"{len(self.advantages)} advantages for {len(self.group.rollouts)} rollouts")
        if self.skipped is not None and len(self.skipped) != len(self.group.rollouts):
            raise ValueError(f"{len(self.skipped)} masks for {len(self.group.rollouts)} rollouts")
        if not all(map(math.isfinite, self.advantages)):
            raise ValueError(f"an advantage in a group of {self.group.problem.task} is not a finite number")
        exact = tuple(0.0 if abs(a) < ADVANTAGE_ROUNDING else a for a in self.advantages)
        object.__setattr__(self, "advantages", exact)

    @property
    def zero_advantage(self) -> bool:
        """Nothing in it is to be trained on."""
        return not any(self.advantages)
