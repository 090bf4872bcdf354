"""Tasks by name: embedded ones, `digits` and reward models for images, `rg:<dataset>`, and own data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from policies.image_rewards.reward_models import REWARD_MODELS
from policies.tasks import data_task, walk
from policies.tasks.code_task import build_code_task, is_code
from policies.tasks.data_task import build_data_task, is_data
from policies.tasks.embedded import FAMILIES, EmbeddedTask, build_embedded_task
from policies.tasks.gym import PREFIX, SANDBOX_PARAM, build_gym_task, known_gym_tasks
from policies.tasks.image_reward import build_image_reward_task
from policies.tasks.task import Task, TaskError, TaskSpec, score_group
from policies.tasks.walk import WALK, WalkTask, build_walk_task

__all__ = [
    "DIGITS",
    "EMBEDDED",
    "Task",
    "TaskError",
    "TaskSpec",
    "asks_for_images",
    "asks_for_sandbox",
    "build_task",
    "known_tasks",
    "score_group",
]

DIGITS = "digits"  # here, so that numpy is loaded by who draws them alone
# What the embedded policy's warm start can show it.
EMBEDDED: Mapping[str, EmbeddedTask | WalkTask] = MappingProxyType({**FAMILIES, walk.NAME: WALK})


def build_task(spec: TaskSpec) -> Task:
    """The task that `spec` names. Raises TaskError, with the nearest known name or what else to change."""
    if spec.name.startswith(PREFIX):
        return build_gym_task(spec)
    if spec.name == DIGITS:
        from policies.tasks.digits import build_digits_task

        return build_digits_task(spec)
    if spec.name in REWARD_MODELS:
        return build_image_reward_task(spec)
    if is_code(spec.name):
        return build_code_task(spec)
    if is_data(spec.name):
        return build_data_task(spec)
    if spec.name == walk.NAME:
        return build_walk_task(spec)
    if spec.name not in FAMILIES:
        raise TaskError(f"no task is called {spec.name!r}; {_instead(spec.name)}")
    return build_embedded_task(spec)


def _instead(name: str) -> str:
    """The task that was meant, where one is near; else what there is."""
    near = difflib.get_close_matches(name, known_tasks(), n=1, cutoff=0.6)
    near = near or [known for known in known_tasks() if len(name) > 2 and name.lower() in known]
    if near:
        return f"the nearest is {near[0]!r}"
    listed = ", ".join((*EMBEDDED, DIGITS, *REWARD_MODELS))
    return (
        f"there are {listed} and reasoning-gym's, such as {PREFIX}chain_sum: `murmur tasks` lists all; "
        f"own questions are called {data_task.NAME}:NAME, with their file in path: docs/own-data.md"
    )


def asks_for_images(spec: TaskSpec) -> bool:
    """Of a task that need not be installed here."""
    return spec.name == DIGITS or spec.name in REWARD_MODELS


def asks_for_sandbox(spec: TaskSpec) -> bool:
    """Whether completions are scored in the sandbox. Of a task that need not be installed here."""
    return spec.name.startswith(PREFIX) and bool(spec.params.get(SANDBOX_PARAM, False))


def known_tasks() -> tuple[str, ...]:
    """Names that `build_task` takes without special parameters, embedded ones first."""
    return (*EMBEDDED, DIGITS, *REWARD_MODELS, *known_gym_tasks())
