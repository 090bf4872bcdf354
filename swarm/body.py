"""What one announcement offers: the groups of one round of one node, as they travel: text, no token ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from policies.rollout import Finish, Group, Rollout
from swarm.limits import MAX_BODY_ROLLOUTS, MAX_GROUPS, MAX_ROLLOUTS, MAX_TEXT
from swarm.record import Summary

# Text that `shareable` puts into one body, UTF-8 bytes. With 32 bytes a rollout for the rest it stays under
# MAX_BODY even where nothing compresses, so a node never builds a body that it cannot publish.
SHARED_TEXT = 3 * 2**20

FINISHED = (Finish.STOP, Finish.LENGTH)


@dataclass(frozen=True, slots=True)
class SharedRollout:
    text: str
    finish: Finish  # one of FINISHED
    claimed_reward: float  # in [0, 1]; compared with the receiver's own, never trained on


@dataclass(frozen=True, slots=True)
class SharedGroup:
    task: str  # full name with version
    seed: int  # 0 <= seed < TRAIN_SEEDS
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


def shareable(groups: Iterable[Group]) -> list[Group]:
    """The own scored groups that a peer would accept, in the given order and cut to what one body holds.

    Unfinished, empty and overlong rollouts stay at home, and so does a group that they leave with fewer than
    two. External groups are never passed on.
    """
    chosen: list[Group] = []
    text_left, rollouts_left = SHARED_TEXT, MAX_BODY_ROLLOUTS
    for group in groups:
        rollouts = tuple(rollout for rollout in group.rollouts if _travels(rollout))
        size = sum(len(rollout.text.encode()) for rollout in rollouts)
        if group.external or not 2 <= len(rollouts) <= min(MAX_ROLLOUTS, rollouts_left) or size > text_left:
            continue
        chosen.append(replace(group, rollouts=rollouts))
        text_left, rollouts_left = text_left - size, rollouts_left - len(rollouts)
    return chosen[:MAX_GROUPS]


def share(groups: Sequence[Group], swarm: str, sender: str, summary: Summary) -> Body:
    """The body of `shareable` groups; `summary` is what its announcement says of the same groups.

    Raises ValueError when a rollout is unscored.
    """
    shared = tuple(
        SharedGroup(
            task=group.problem.task,
            seed=group.problem.seed,
            rollouts=tuple(
                SharedRollout(rollout.text, rollout.finish, float(reward))
                for rollout, reward in zip(group.rollouts, group.rewards, strict=True)
            ),
        )
        for group in groups
    )
    return Body(swarm, sender, summary.fingerprint, summary.policy_version, summary.round, shared)


def _travels(rollout: Rollout) -> bool:
    return rollout.finish in FINISHED and 0 < len(rollout.text.encode()) <= MAX_TEXT
