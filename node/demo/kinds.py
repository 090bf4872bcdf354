"""The kinds of `murmur demo`: the preset of its nodes, what sets them apart, and the picture at its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from node.config.schema import Config
from node.storage.checkpoint import Checkpoints
from node.storage.run_folder import RunFolder

KindName: TypeAlias = Literal["embedded", "digits"]

COLUMNS = 8  # images of each digit, before the first round and after the last


@dataclass(frozen=True, slots=True)
class DemoKind:
    """One demo. `profile` gives the config overrides that are node `number`'s own; its baseline takes the same."""

    preset: str
    profile: Callable[[int], list[str]]
    # Draws what a finished node makes now beside what it made at first, into a file that it returns.
    picture: Callable[[Config, RunFolder, Path], Path] | None = None


# What each node's warm start taught it: the share of right answers it saw in each task, the rest being a wrong
# habit. Each is good at something that the others hardly know, as nodes with different histories are.
SKILLS: tuple[dict[str, float], ...] = (
    {"maximum": 0.03, "shift": 0.03, "binary": 0.6},
    {"maximum": 0.6, "shift": 0.03, "binary": 0.03},
    {"maximum": 0.03, "shift": 0.6, "binary": 0.03},
)


def skilled(number: int) -> list[str]:
    """A history of its own."""
    skills = SKILLS[(number - 1) % len(SKILLS)]
    table = ", ".join(f"{json.dumps(task)} = {share}" for task, share in skills.items())
    return [f"policy.warm_start.skills={{{table}}}"]


def alike(number: int) -> list[str]:
    """The same start for all: each would take minutes to make. Their seeds set them apart."""
    return []


def draw_digits(config: Config, run: RunFolder, folder: Path) -> Path:
    """`digits.png`: a line for each digit, by the first weights on the left, by the newest on the right."""
    from node.runtime.build import build_policy
    from policies.diffusion.image_grid import BACKGROUND, drawn, write_grid
    from policies.rollout import Image
    from policies.tasks.digit_images import SIDE
    from policies.tasks.digits import build_digits_task
    from policies.tasks.task import TaskSpec

    policy, task = build_policy(config, _say_nothing), build_digits_task(TaskSpec("digits"))
    problems = [task.problem(digit) for digit in range(10)]
    before = drawn(policy, problems, COLUMNS, config.run_seed)
    Checkpoints(run.checkpoints, config.checkpoint.keep).load_latest(policy)
    after = drawn(policy, problems, COLUMNS, config.run_seed)
    file = folder / "digits.png"
    parted = Image(SIDE, SIDE, 1, bytes([BACKGROUND]) * SIDE**2)
    write_grid([[*old, parted, *new] for old, new in zip(before, after, strict=True)], file)
    return file


def _say_nothing(what: str, done: int, total: int) -> None:
    """The weights are in the cache by now."""


KINDS: Mapping[KindName, DemoKind] = MappingProxyType(
    {"embedded": DemoKind("tiny", skilled), "digits": DemoKind("digits", alike, draw_digits)}
)
