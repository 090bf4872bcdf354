"""The Task interface: a generator of problems, deterministic in their seeds, with a verifier of answers."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from policies.install_hints import PackageMissing
from policies.rollout import Group, Image, Problem, Rollout

logger = logging.getLogger(__name__)

Param = bool | int | float | str

# Seeds below TRAIN_SEEDS are for training and may travel; those from it on are held out for evaluation,
# so no peer can hand a node the problems that it is judged by.
TRAIN_SEEDS = 2**31
HELD_OUT_SEED = TRAIN_SEEDS
MAX_SEED = 2**32 - 1  # what the libraries of all tasks take
MAX_UNJUDGED = 8  # rollouts without a verdict, after which a group's others get none either


class TaskError(ValueError):
    """A task that cannot be built as asked; the message says what to change."""


class TaskPackageMissing(PackageMissing, TaskError):
    """A task that needs a package that is not installed here."""


class TaskSourceMissing(TaskError):
    """A task whose rows, prompts or reward model are not to be had now, as it is asked for: a file that is gone."""


class TaskTimeoutError(TaskError):
    """A problem that takes longer than any may take."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What names a task in configs and manifests: `sort`, `rg:chain_sum`, with parameters where it takes any."""

    name: str
    params: Mapping[str, Param] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """Eight hex digits over the parameters: equal parameters, equal problems. Empty without parameters."""
        if not self.params:
            return ""
        canonical = json.dumps(dict(self.params), sort_keys=True, separators=(",", ":"))
        return "#" + hashlib.sha256(canonical.encode()).hexdigest()[:8]


class ProblemSource(Protocol):
    """What every task has: a name that peers match on, and problems that are pure in their seed."""

    @property
    def name(self) -> str:
        """Full name `family@version`, with `#fingerprint` when there are parameters. Peers match on it."""
        ...

    def problem(self, seed: int) -> Problem:
        """The problem of this seed; the same on every node that runs the same task name.

        Bounded in time. Raises TaskError for a seed that no problem can be made of, TaskTimeoutError when it takes too
        long.
        """
        ...


class TextTask(ProblemSource, Protocol):
    """A task that asks for text. `score` is pure, bounded in time, and never evaluates text as code."""

    def score(self, problem: Problem, completion: str) -> float | None:
        """Reward in [0, 1] of a completion's text; None, no verdict, where the check took too long. Never raises."""
        ...


@runtime_checkable
class RowTask(TextTask, Protocol):
    """A task of finitely many rows, of which each seed meets one."""

    def row(self, seed: int) -> int:
        """The number of a training seed's row."""
        ...


@runtime_checkable
class DrawnTask(TextTask, Protocol):
    """A task some of whose seeds take several draws to a problem on their side (see `held_out`)."""

    def canonical_seed(self, seed: int) -> int:
        """The seed whose first draw is this one's problem."""
        ...

    def first_draw(self, seed: int, within: float | None = None) -> Problem:
        """The problem of a canonical seed, at the cost of one draw of so many CPU seconds at most.

        Raises ReservedError for any other seed, TaskTimeoutError beyond the seconds.
        """
        ...


@runtime_checkable
class ImageTask(ProblemSource, Protocol):
    """Asks for images. `score_images` is pure: with equal scorers, rewards are equal up to rounding."""

    def score_images(self, problem: Problem, images: Sequence[Image]) -> list[float]:
        """Rewards in [0, 1], one an image of any size. Never raises on any image."""
        ...


Task = TextTask | ImageTask


def score_group(task: Task, group: Group) -> Group:
    """The group with every rollout's reward from its task's verifier, or without a verdict.

    A rollout of another medium gets 0, and so does one whose reward is not a finite number: it would end training.
    After `MAX_UNJUDGED` rollouts without a verdict the rest is not looked at: each may have cost its whole time.
    """
    rewards: Iterable[float | None]
    if isinstance(task, ImageTask):
        given = iter(
            task.score_images(group.problem, [r.image for r in group.rollouts if r.image is not None])
        )
        rewards = [0.0 if r.image is None else next(given) for r in group.rollouts]
    else:
        rewards = list(_scores(task, group))
    scored = zip(group.rollouts, rewards, strict=True)
    return replace(group, rollouts=tuple(r.scored(_finite(task, reward)) for r, reward in scored))


def score_text(task: TextTask, problem: Problem, rollout: Rollout) -> Rollout:
    """One rollout of text with its reward, as `score_group` gives it."""
    return rollout.scored(_finite(task, task.score(problem, rollout.text)))


def _scores(task: TextTask, group: Group) -> Iterator[float | None]:
    unjudged = 0
    for rollout in group.rollouts:
        reward = task.score(group.problem, rollout.text) if unjudged < MAX_UNJUDGED else None
        unjudged += reward is None
        yield reward


def _finite(task: Task, reward: float | None) -> float | None:
    if reward is None or math.isfinite(reward):
        return reward
    logger.warning("a verifier of %s gave %s for a reward; it counts as 0", task.name, reward)
    return 0.0
