"""The node's own open groups: partials, finished rollouts that wait for their siblings, surplus groups.

A strategy keeps no state of its own, so a checkpoint of these is a checkpoint of the strategy. Every
opened group is trained on, dropped for a named reason, or still here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from policies.rollout import Finish, Group, Problem, Rollout
from policies.seeds import derive_seed
from policies.serialise import plain_rollout, read_rollout
from policies.strategies.difficulty import Difficulty, measure

UNBEGUN = Rollout(text="", segments=(), finish=Finish.UNFINISHED)


@dataclass(frozen=True, slots=True)
class OpenGroup:
    """A group that this node is still sampling, or has sampled and not yet trained on."""

    round: int  # in which it was opened
    index: int  # among the groups opened in that round
    problem: Problem
    first: int = 0  # rollouts of stage 1: those it was opened with, and the first of its rollouts
    rollouts: tuple[Rollout, ...] = ()

    @property
    def place(self) -> tuple[int, int]:
        """Round and index: which group of the run it is."""
        return self.round, self.index

    @property
    def running(self) -> tuple[int, ...]:
        """Indices of the rollouts that are not finished."""
        return tuple(i for i, r in enumerate(self.rollouts) if r.finish is Finish.UNFINISHED)

    @property
    def settled(self) -> bool:
        """All rollouts are finished and scored, or without a verdict."""
        return not self.running and all(r.reward is not None or r.no_verdict for r in self.rollouts)

    @property
    def group(self) -> Group:
        """What there is to learn from: rollouts without a verdict keep their place here, and are left out there."""
        return Group(self.problem, self.rollouts).judged

    @property
    def oldest_version(self) -> int | None:
        """The policy version of its oldest token; None before the first one."""
        versions = (s.policy_version for r in self.rollouts for s in r.segments if s.token_ids)
        return min(versions, default=None)

    def difficulty(self, correct_reward: float) -> Difficulty:
        """That of stage 1. With stage 2 it is biased: a problem that looked hard is sampled on until it does not.

        Raises ValueError while a rollout of stage 1 is unscored.
        """
        return measure(Group(self.problem, self.rollouts[: self.first]).judged.rewards, correct_reward)

    def extended(self, count: int) -> OpenGroup:
        """With `count` further rollouts to sample. The first extension makes stage 1."""
        rollouts = self.rollouts + (UNBEGUN,) * count
        return replace(self, rollouts=rollouts, first=self.first or count)

    def with_rollouts(self, changed: dict[int, Rollout]) -> OpenGroup:
        """With the rollouts at the given indices replaced."""
        return replace(self, rollouts=tuple(changed.get(i, r) for i, r in enumerate(self.rollouts)))


@dataclass(slots=True)
class OpenGroups:
    """Open groups, oldest first, and where every group that ever was here went."""

    run_seed: int
    groups: list[OpenGroup] = field(default_factory=list)
    opened: int = 0
    trained: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # by reason

    @property
    def partials(self) -> list[tuple[OpenGroup, int]]:
        """Every rollout that is not finished, as its group and its index in it."""
        return [(group, i) for group in self.groups for i in group.running]

    def open(self, group: OpenGroup) -> None:
        """Takes in a new group."""
        self.opened += 1
        self.groups.append(group)

    def put(self, group: OpenGroup) -> None:
        """Takes in a newer state of an open group."""
        self.groups[self._position(group)] = group

    def close(self, group: OpenGroup, dropped: str | None) -> None:
        """Lets a group go: to training, or dropped for the given reason."""
        del self.groups[self._position(group)]
        if dropped is None:
            self.trained += 1
        else:
            self.dropped[dropped] += 1

    def key(self, group: OpenGroup, rollout: int) -> int:
        """What determines the random draws of one rollout, in whichever round they are made."""
        return derive_seed(self.run_seed, "rollout", *group.place, rollout)

    def snapshot(self) -> dict[str, Any]:
        """Plain data for the checkpoint: dicts, lists, text, numbers and None."""
        return {
            "groups": [_plain(group) for group in self.groups],
            "opened": self.opened,
            "trained": self.trained,
            "dropped": dict(self.dropped),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Takes over what `snapshot` gave, straight or through JSON or msgpack, in place of what is here."""
        self.groups = [_open_group(data) for data in snapshot["groups"]]
        self.opened, self.trained = snapshot["opened"], snapshot["trained"]
        self.dropped = Counter(snapshot["dropped"])

    def _position(self, group: OpenGroup) -> int:
        return [kept.place for kept in self.groups].index(group.place)


def _plain(group: OpenGroup) -> dict[str, Any]:
    return {
        "round": group.round,
        "index": group.index,
        "problem": asdict(group.problem),
        "first": group.first,
        "rollouts": [plain_rollout(rollout) for rollout in group.rollouts],
    }


def _open_group(data: dict[str, Any]) -> OpenGroup:
    rollouts = tuple(read_rollout(rollout) for rollout in data["rollouts"])
    return OpenGroup(data["round"], data["index"], Problem(**data["problem"]), data["first"], rollouts)
