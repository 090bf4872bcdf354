"""The body of an announcement: the groups of one round of one node, as they travel.

Text without token ids, or finished images without latents: what any model can learn from, whatever wrote it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from policies.rollout import Finish, Group, Rollout
from swarm.limits import (
    MAX_BODY_PIXELS,
    MAX_BODY_ROLLOUTS,
    MAX_GROUP_IMAGES,
    MAX_GROUPS,
    MAX_IMAGE,
    MAX_ROLLOUTS,
    MAX_TEXT,
)
from swarm.wire import images
from swarm.wire.announcement import Summary

# Text and images that `shareable` puts into one body, bytes. With 32 bytes a rollout for the rest it stays under
# MAX_BODY even where nothing compresses, so a node never builds a body that it cannot publish.
SHARED_BYTES = 3 * 2**20

FINISHED = (Finish.STOP, Finish.LENGTH)


@dataclass(frozen=True, slots=True)
class SharedRollout:
    text: str
    finish: Finish  # one of FINISHED
    claimed_reward: float  # in [0, 1]; compared with the receiver's own, never trained on
    image: bytes = b""  # as `images` packs it, where the completion is an image; then `text` is empty

    @property
    def pixels(self) -> int:
        """Bytes of the image once opened, by its header, counted as RGB. Raises DecodeError."""
        if not self.image:
            return 0
        width, height, _ = images.dimensions(self.image)
        return 3 * width * height


@dataclass(frozen=True, slots=True)
class SharedGroup:
    task: str  # full name with version
    seed: int  # 0 to MAX_SEED; from HELD_OUT_SEED on the group is refused
    rollouts: tuple[SharedRollout, ...]


@dataclass(frozen=True, slots=True)
class Body:
    swarm: str
    sender: str  # PeerID
    fingerprint: str
    policy_version: int
    round: int
    groups: tuple[SharedGroup, ...]

    @property
    def rollouts(self) -> int:
        return sum(len(group.rollouts) for group in self.groups)


@dataclass(frozen=True, slots=True)
class PackedGroup:
    """An own group with those of its rollouts that travel, and the images of these as they travel."""

    group: Group
    images: tuple[bytes, ...]  # one a rollout, as `images.encode` makes them; empty for text

    def shared(self) -> SharedGroup:
        """Raises ValueError when a rollout is unscored."""
        group = self.group
        rollouts = zip(group.rollouts, group.rewards, self.images, strict=True)
        return SharedGroup(
            task=group.problem.task,
            seed=group.problem.seed,
            rollouts=tuple(
                SharedRollout(r.text, r.finish, float(reward), image) for r, reward, image in rollouts
            ),
        )


def shareable(groups: Iterable[Group], withheld: Counter[str] | None = None) -> list[PackedGroup]:
    """The own scored groups that a peer would accept, cut to what one body holds: those with something to learn from
    first, since a receiver soon leaves a body that has nothing more for it; otherwise in the given order.

    Unfinished, empty and overlong rollouts stay at home, and so does a group that they leave with fewer than
    two, or one whose chosen images take too many bytes. Of a group of images the best and the worst travel. External
    groups are never passed on. `withheld` counts what was finished and stayed at home all the same, by kind.
    """
    withheld = Counter() if withheld is None else withheld
    chosen: list[PackedGroup] = []
    bytes_left, pixels_left, rollouts_left = SHARED_BYTES, MAX_BODY_PIXELS, MAX_BODY_ROLLOUTS
    for group in sorted((g for g in groups if not g.external), key=_has_nothing_to_learn):
        withheld["overlong_rollouts"] += sum(map(_overlong, group.rollouts))
        rollouts = _extremes([rollout for rollout in group.rollouts if _travels(rollout)])
        if not 2 <= len(rollouts) <= MAX_ROLLOUTS:
            withheld["groups_of_too_many"] += len(rollouts) > MAX_ROLLOUTS
            continue
        pixels = sum(map(_pixels, rollouts))
        if len(chosen) == MAX_GROUPS or len(rollouts) > rollouts_left or pixels > pixels_left:
            withheld["groups_beyond_a_body"] += 1
            continue
        encoded = tuple(images.encode(rollout.image) if rollout.image else b"" for rollout in rollouts)
        size = sum(len(rollout.text.encode()) for rollout in rollouts) + sum(map(len, encoded))
        if max(map(len, encoded)) > MAX_IMAGE or size > bytes_left:
            withheld["groups_beyond_a_body"] += 1
            continue
        chosen.append(PackedGroup(replace(group, rollouts=rollouts), encoded))
        bytes_left, pixels_left = bytes_left - size, pixels_left - pixels
        rollouts_left -= len(rollouts)
    return chosen


def share(groups: Sequence[PackedGroup], swarm: str, sender: str, summary: Summary) -> Body:
    """The body of `shareable` groups; `summary` is what its announcement says of the same groups.

    Raises ValueError when a rollout is unscored.
    """
    shared = tuple(group.shared() for group in groups)
    return Body(swarm, sender, summary.fingerprint, summary.policy_version, summary.round, shared)


def _has_nothing_to_learn(group: Group) -> bool:
    return all(rollout.reward is not None for rollout in group.rollouts) and group.zero_advantage


def _travels(rollout: Rollout) -> bool:
    if rollout.finish not in FINISHED:
        return False
    if rollout.image is None:
        return 0 < len(rollout.text.encode()) <= MAX_TEXT
    return images.fits(rollout.image)


def _overlong(rollout: Rollout) -> bool:
    """Finished and not empty, but larger than a peer would take."""
    written = rollout.image is not None or bool(rollout.text)
    return rollout.finish in FINISHED and written and not _travels(rollout)


def _extremes(rollouts: Sequence[Rollout]) -> tuple[Rollout, ...]:
    """All of them, and of images the best and the worst half of MAX_GROUP_IMAGES, in their order."""
    if len(rollouts) <= MAX_GROUP_IMAGES or any(rollout.image is None for rollout in rollouts):
        return tuple(rollouts)
    ranked = sorted(range(len(rollouts)), key=lambda i: (rollouts[i].reward or 0.0, i))
    half = MAX_GROUP_IMAGES // 2
    return tuple(rollouts[i] for i in sorted([*ranked[:half], *ranked[-half:]]))


def _pixels(rollout: Rollout) -> int:
    """Bytes that a receiver needs for the opened image, which may have more channels than the own."""
    return 3 * rollout.image.width * rollout.image.height if rollout.image else 0
