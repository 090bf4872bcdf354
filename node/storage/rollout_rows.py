"""Rollouts as the store keeps them: what a round hands over to be kept, and what is read back."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from policies.plain_files import parse_json
from policies.rollout import Finish, Group, Image

MAX_CHARACTERS = 32_768  # of a text, prompt or answer; what is longer is cut, and its whole length is kept
EQUAL_REWARDS: Final = "equal_rewards"  # a verdict to look for: any of the three below
ALL_ALIKE: Final = "all_alike"  # an external group whose rewards are all equal
EQUAL_VERDICTS: Final = ("all_wrong", "all_right", ALL_ALIKE)  # of own groups, and of external ones
TRAINED, UNTRAINED = "trained", "untrained"  # verdicts on a rollout, beside the reasons why it was left out
DOWN_SAMPLED: Final = "down_sampled"  # left out of a group that was trained on
DIVERGED: Final = "diverged"  # the update of its group was not finite and was undone
NOT_DRAWN: Final = "not_drawn"  # the update took other groups
VERDICTS: Final = (TRAINED, UNTRAINED, EQUAL_REWARDS, *EQUAL_VERDICTS, DOWN_SAMPLED, NOT_DRAWN, DIVERGED)
_LEVEL = 3  # of zlib: half a millisecond a round

Order = Literal["newest", "best", "worst"]


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """One group that a round dealt with, scored here, and what the update made of it."""

    group: Group
    advantages: tuple[float | None, ...]  # one a rollout; None where it was not in the update
    reason: str | None = None  # why none of it was trained on; None where some was


@dataclass(frozen=True, slots=True)
class RefusedGroup:
    """A group, or a whole body, that was refused: no text of it is kept. `detail` is one line of our own."""

    round: int
    peer: str
    task: str  # the peer's word; empty for a whole body
    seed: int | None
    rollouts: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class RoundRollouts:
    """All rollouts of one round."""

    round: int
    groups: Sequence[ScoredGroup] = ()
    refused: Sequence[RefusedGroup] = ()


@dataclass(frozen=True, slots=True)
class KeptRollout:
    """One rollout as it is read back. Texts are as they were made: whoever shows them makes them harmless."""

    id: int
    group: int
    round: int
    task: str
    seed: int
    origin: str | None  # PeerID; None: this node
    reward: float
    advantage: float | None  # None where it was not in the update
    reason: str | None  # why it was not trained on
    finish: Finish
    tokens: int  # 0 for an image
    characters: int  # of the whole text
    text: str
    prompt: str
    answer: str
    image: tuple[int, int] | None  # width and height

    @property
    def cut(self) -> bool:
        """Whether the store has less than the whole text."""
        return self.characters > len(self.text)


@dataclass(frozen=True, slots=True)
class RolloutQuery:
    """What to read; a filter that is None lets everything pass."""

    round: int | None = None
    task: str | None = None  # full name, or the part before the @
    seed: int | None = None  # with the task: one problem
    peer: str | None = None  # PeerID, or its end as tables show it
    external: bool | None = None
    right: bool | None = None  # whether its reward is whole
    verdict: str | None = None  # TRAINED, UNTRAINED, or a reason: why it was not trained on, or was refused
    group: int | None = None
    after: int | None = None  # ids above this one
    order: Order = "newest"
    limit: int = 20
    skip: int = 0  # of those that fit, in their order, before the first that is read


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the store has of rollouts, and what was dropped for room."""

    kept: int  # rollouts
    dropped: int
    first_round: int | None  # from which on something is kept
    thinned_to: int | None  # the last round of which only some groups are left
    size: int  # bytes


def verdict_named(words: str) -> str:
    """A verdict as it is kept, of how people write it: `all wrong`, `All-wrong`, `equal rewards (all wrong)`."""
    named = words.strip().lower().replace(" ", "_").replace("-", "_")
    return named.removeprefix(f"{EQUAL_REWARDS}_(").removesuffix(")")


def verdict_words(verdict: str) -> str:
    """A verdict as people read it: `equal rewards (all wrong)`, `stale`."""
    words = verdict.replace("_", " ")
    if verdict == ALL_ALIKE:
        return EQUAL_REWARDS.replace("_", " ")
    return f"equal rewards ({words})" if verdict in EQUAL_VERDICTS else words


def pack_texts(group: Group) -> bytes:
    """Prompt, answer and texts, compressed together."""
    texts = [rollout.text[:MAX_CHARACTERS] for rollout in group.rollouts]
    problem = group.problem
    content = [problem.prompt[:MAX_CHARACTERS], problem.answer[:MAX_CHARACTERS], texts]
    return zlib.compress(json.dumps(content, separators=(",", ":")).encode("ascii"), _LEVEL)


def unpack_texts(packed: bytes) -> tuple[str, str, list[str]]:
    """Raises ValueError for what `pack_texts` did not make."""
    try:
        prompt, answer, texts = parse_json(zlib.decompress(packed))
    except zlib.error as error:
        raise ValueError(f"texts that do not unpack ({error})") from error
    return str(prompt), str(answer), [str(text) for text in texts]


def pack_image(image: Image) -> tuple[int, int, int, bytes]:
    return image.width, image.height, image.channels, zlib.compress(image.pixels, 1)


def unpack_image(row: tuple[Any, ...]) -> Image:
    """Raises ValueError for what `pack_image` did not make."""
    width, height, channels, pixels = row
    try:
        return Image(width, height, channels, zlib.decompress(pixels))
    except zlib.error as error:
        raise ValueError(f"an image that does not unpack ({error})") from error
